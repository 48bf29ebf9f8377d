"""JSON log lines on standard error, which no secret passes."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pythonjsonlogger.json import JsonFormatter

from secret_files import RedactingFormatter, Redactor, SecretStore

#: One for the process, since logging is the process's too.
redactor = Redactor()

#: What is asked for every few seconds, for ever: the kubelet's probes, and the page's panel.
PROBES = ("/livez", "/readyz", "/panel")

FIELDS = "{asctime}{levelname}{name}{message}"


def formatter() -> logging.Formatter:
    """Return the formatter of every handler; gunicorn.conf.py names it, too."""
    lines = JsonFormatter(
        FIELDS,
        style="{",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    return RedactingFormatter(lines, redactor)


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Tell a request from a probe that succeeded."""
    request = record.args
    if not isinstance(request, Mapping):
        return True
    return request["U"] not in PROBES or request["s"] != "200"


def configure(level: str) -> None:
    """Make the root logger write such lines from `level` on, and warnings with it."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)


def redact(store: SecretStore) -> None:
    """Redact what the store has now and whatever it will have."""
    redactor.learn(store.current().confidential())
    # before anything else has it: what tries a new generation may log, too
    store.on_try.insert(0, lambda snapshot: redactor.learn(snapshot.confidential()))
