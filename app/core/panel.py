"""The panel: what the secrets are at, and the last rotation, step by step. Never a value."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flask import Blueprint, current_app, render_template

from secret_files import SecretStore

from .events import Event, Journal, Pod, View

PATH: Final = "/panel"

COMING: Final = "The coming session key verifies; it does not sign yet."
PROMOTED: Final = "The new session key signs; the old one verifies until its sessions have ended."
FINISHED: Final = (
    "The old session key still verifies, until the sessions that it signed have ended."
)

#: A generation is the time that it was made. One that is ahead by so many seconds was made by a
#: clock that was wrong, and is not newer than any.
CLOCK_TOLERANCE: Final = 300

blueprint = Blueprint(
    "panel",
    __name__,
    static_folder="static",
    static_url_path=f"{PATH}/static",
    template_folder="templates",
)


@dataclass(frozen=True)
class Step:
    """A step of a rotation."""

    title: str
    #: When it was done; None: it is yet to be.
    done_at: datetime | None
    #: What it means, or how far it is.
    text: str


@blueprint.get(PATH)
def panel() -> str:
    """Show the panel alone; the page asks for it every second."""
    return render_template("panel.html", **content())


def content() -> dict[str, Any]:
    """Return what the template `panel.html` shows.

    What is not one pod's own is that of the newest generation which any pod has, so that an
    old and a new pod in turn say the same.
    """
    journal: Journal = current_app.extensions["journal"]
    store: SecretStore = current_app.extensions["secrets"]
    view = journal.look()
    newest = newest_of(view.pods)
    steps = last_rotation(view.by_keeper, view.pods)
    changed = view.changed if newest.generation else {}
    return {
        "summary": summary(view, steps),
        "view": view,
        "newest": newest,
        "is_newest": lambda pod: has_the_same(pod, newest),
        "source": store.source,
        "secrets": [
            (name, _made(changed.get(name))) for name in current_app.config["SECRET_NAMES"]
        ],
        "steps": steps,
    }


def _made(generation: int | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(generation, UTC) if generation else None
    except (ValueError, OverflowError):  # no time: whoever wrote it, it is not the keeper's
        return None


def newest_of(pods: Collection[Pod]) -> Pod:
    """Return the pod with the newest secrets; where one has no number, the last to adopt any."""
    if any(pod.generation is None for pod in pods):
        return max(pods, key=lambda pod: pod.adopted_at)
    return max(pods, key=lambda pod: (_number(pod), pod.adopted_at))


def _number(pod: Pod) -> int:
    generation = pod.generation or 0
    return generation if generation <= time.time() + CLOCK_TOLERANCE else 0


def has_the_same(pod: Pod, other: Pod) -> bool:
    """Tell whether two pods have the same secrets, as far as that can be seen."""
    return (pod.generation, pod.role) == (other.generation, other.role)


def last_rotation(by_keeper: Iterable[Event], pods: Collection[Pod]) -> list[Step]:
    """Return the steps of the last rotation, with those that are yet to come.

    :param by_keeper: the keeper's events, the newest first.
    """
    told: dict[str, Event] = {}
    changed: set[str] = set()
    for event in reversed(list(by_keeper)):
        if event.event == "announced":
            if "rotated" in told:
                told, changed = {}, set()
            changed |= set(event.changed)
        if event.event == "announced" or (told and "rotated" not in told):
            told[event.event] = event
    if not told:
        return []
    has_key = "SECRET_KEY_FALLBACKS" in changed or "promoted" in told
    has_role = "DATABASE_PASSWORD" in changed or "revoked" in told
    steps = [_step(told, "announced", "Announced", _announced(told["announced"], has_key))]
    after = "revoked" if has_role else "rotated"
    if has_key:
        steps.append(_seen(told, "Every pod has it", "announced", "promoted", pods))
        steps.append(_step(told, "promoted", "Promoted", PROMOTED))
        steps.append(_seen(told, "Every pod signs with it", "promoted", after, pods))
    else:
        steps.append(_seen(told, "Every pod has it", "announced", after, pods))
    if has_role:
        role = told["revoked"].role if "revoked" in told else "The old role"
        steps.append(_step(told, "revoked", "Revoked", f"{role} can log in no more."))
    return [*steps, _step(told, "rotated", "Finished", FINISHED if has_key else "")]


def _announced(event: Event, has_key: bool) -> str:
    """Return what was announced, in words."""
    role = f"New connections log in as {event.role}. " if event.role else ""
    return role + (COMING if has_key else "")


def _step(told: Mapping[str, Event], name: str, title: str, text: str) -> Step:
    return Step(title, told[name].happened_at if name in told else None, text)


def _seen(
    told: Mapping[str, Event], title: str, published: str, following: str, pods: Collection[Pod]
) -> Step:
    """Return the step in which the keeper waits for the pods; the next one ends it."""
    if following in told:
        return Step(title, told[following].happened_at, "")
    if published not in told:
        return Step(title, None, "")
    generation = told[published].generation or 0
    ready = sum(pod.generation == generation or _number(pod) >= generation for pod in pods)
    return Step(title, None, f"{ready} of {len(pods)} so far.")


def summary(view: View, steps: Collection[Step]) -> str:
    """Return in one sentence what is going on."""
    if not view.read_at:
        return "The database does not tell what the other pods have: this is what one pod knows."
    refusing = [pod.name for pod in view.pods if pod.refused]
    if refusing:
        return f"{refusing[0]} does not take a newer generation, and stays with its last good one."
    for number, step in enumerate(steps, 1):
        if not step.done_at:
            where = f"step {number} of {len(steps)}: {step.title.lower()}"
            if view.by_keeper[0].event == "stopped":
                return f"A rotation has stopped, {where}. Old and new stay valid until it goes on."
            return f"A rotation is under way, {where}."
    newest = newest_of(view.pods)
    if not all(has_the_same(pod, newest) for pod in view.pods):
        return "Not every pod has the newest secrets."
    if newest.generation is None:
        return (
            "Every pod uses the same database role. Whoever made the secrets does not number them."
        )
    return "No rotation is under way. Every pod has the same generation."
