"""A service that answers with more than it should: its image has one changed file."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.cluster.client import ROOT
from tools.leakscan.run import image_of
from tools.leakscan.target import Target

from . import plants

#: What follows in app/wsgi.py of the changed image. The canaries come from a seed, as all of them
#: do (`canary_of`), so that they stand nowhere but in the answers.
CHANGE: Final = """
import hashlib
from flask import request, session
from prometheus_client import Gauge

def _canary(name):
    return hashlib.sha256(f"SEED {name}".encode()).hexdigest()[:40]

@application.before_request
def _into_the_cookie():
    if request.path == "/":
        session["note"] = [_canary("http cookie")] * 20  # long enough to be packed

@application.after_request
def _into_the_answer(answer):
    if answer.status_code == 405:
        answer.headers["X-Debug"] = _canary("http header").encode().hex()
    if answer.status_code == 415:
        answer.set_data(_canary("http error_page"))
    return answer

_registry = application.extensions["metrics"].registry
Gauge("debug", "", ["value"], registry=_registry).labels(_canary("http metric")).set(1)
"""


def leaky_service(image: str, tag: str, seed: str) -> None:
    """Build an image with the changed service.

    :param seed: of the canaries; no place is searched for it.
    """
    with tempfile.TemporaryDirectory() as context:
        wsgi = Path(context, "wsgi.py")
        wsgi.write_text((ROOT / "app/wsgi.py").read_text() + CHANGE.replace("SEED", seed))
        # not as strict as the process that makes it may be
        wsgi.chmod(0o644)
        subprocess.run(
            [*("docker", "build", "--quiet", "--file", "-", "--tag", tag), context],
            input=f"FROM {image}\nCOPY wsgi.py app/wsgi.py\n",
            check=True,
            capture_output=True,
            text=True,
        )


def _changed(target: Target) -> Iterator[None]:
    assert ":leaky" in image_of(target.cluster), "that service is not the changed one"
    yield


@plants("http: answers")
def header(target: Target, canary: str) -> Iterator[None]:
    """A header of one kind of refusal, in hex."""
    yield from _changed(target)


@plants("http: answers")
def error_page(target: Target, canary: str) -> Iterator[None]:
    """The body of another."""
    yield from _changed(target)


@plants("http: session cookie")
def cookie(target: Target, canary: str) -> Iterator[None]:
    """The session, which is signed and not encrypted."""
    yield from _changed(target)


@plants("http: metrics")
def metric(target: Target, canary: str) -> Iterator[None]:
    """A label of a metric."""
    yield from _changed(target)
