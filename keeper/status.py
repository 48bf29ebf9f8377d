"""What the keeper knows: ages, what is due, and which pod has what. Never a value."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from secret_files import Redactor

from .access import Access
from .certificates import begins_at, due_at, expires_at
from .objects import SecretObjects, StoredSecret
from .plan import PARTS, Plan
from .pods import Pod, Pods
from .state import IDLE, SESSION_KEY, State, times_ahead

#: How long a pod that does not answer is asked again, in seconds: network rules take a few.
PATIENCE: Final = 10.0
PAUSE: Final = 1.0


def status(objects: SecretObjects, plan: Plan) -> Mapping[str, Any]:
    """Describe the release's secrets and its pods, as something to be printed as JSON.

    :raises Unavailable: a Secret can't be read.
    :raises OSError: the pods can't be looked up.
    """
    access = Access(objects, Redactor(), plan.wait_seconds)
    is_own = bool(plan.service_secret)
    return {
        "source": "keeper" if is_own else "somebody else",
        **(_service(access.get(plan.service_secret), plan.interval) if is_own else {}),
        "certificates": {
            name: _certificate(access, name)
            for name in (plan.authority_secret, *plan.certificates)
            if name
        },
        "pods": [
            {
                "name": pod.name,
                "generation": pod.generation,
                "role": pod.role,
                "problem": pod.problem,
            }
            for pod in _look(plan)
        ],
    }


def _look(plan: Plan) -> list[Pod]:
    """Look at the pods, and again while one does not answer: this pod's own network may be new."""
    pods = Pods(plan.service, plan.wait_seconds)
    deadline = time.monotonic() + min(plan.wait_seconds, PATIENCE)
    while True:
        found = pods.look()
        if not any(pod.problem for pod in found) or time.monotonic() >= deadline:
            return found
        time.sleep(PAUSE)


def _service(stored: StoredSecret, interval: int) -> dict[str, Any]:
    state = State.of(stored)
    ring = state.rings.get(SESSION_KEY)
    return {
        "generation": state.generation,
        "rotation": "none" if state.step == IDLE else state.step,
        **{
            part: {"made": _time(state.made[part]), "due": _time(state.made[part] + interval)}
            for part in PARTS
            if part in state.made
        },
        "session_keys": {"sign": 1, "verify": len(ring.values) if ring else 1},
        "times_ahead": times_ahead(stored),
        "role": stored.text("DATABASE_USERNAME") if stored.has("DATABASE_USERNAME") else "",
    }


def _certificate(access: Access, name: str) -> dict[str, str]:
    stored = access.get(name)
    if not stored.has("tls.crt"):
        return {}
    certificate = stored.text("tls.crt")
    try:
        return {
            "begins": _time(begins_at(certificate)),
            "due": _time(due_at(certificate)),
            "ends": _time(expires_at(certificate)),
        }
    except ValueError:
        return {"problem": "holds something else than a certificate"}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
