"""Whichever way a secret takes into the log, in whichever form, it is not in what is written.

Each case has its control: the same way with the same form, without redaction, does leak.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import logging.config
import runpy
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.core import logs
from secret_files import Redactor, Secret, log_uncaught
from tests.forms import CURRENT, FORMS, PREVIOUS, traces

CONF = Path(__file__).parents[2] / "app" / "gunicorn.conf.py"


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Configure logging as the service under gunicorn does, and return what it writes."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)  # which the handlers take
    monkeypatch.setattr(sys, "stdout", written)
    for module, name in ((sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(logging, "raiseExceptions", True)
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    monkeypatch.setattr("secret_files.forbid_core_dumps", lambda: None)  # it holds for the process
    conf = runpy.run_path(str(CONF))
    logging.config.dictConfig(
        {"version": 1, "disable_existing_loggers": False, **conf["logconfig_dict"]}
    )
    logs.configure("INFO")
    log_uncaught()
    yield written
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.captureWarnings(False)
    for name in ("gunicorn.error", "gunicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.filters.clear()
        logger.propagate = True


@pytest.fixture
def redactor(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    redactor = Redactor()
    redactor.learn([Secret("TOKEN", PREVIOUS)])
    redactor.learn([Secret("TOKEN", CURRENT)])
    monkeypatch.setattr(logs, "redactor", redactor)
    return redactor


def raise_chained(text: str) -> None:
    try:
        raise KeyError(text)
    except KeyError as error:
        raise ValueError("outer") from error


def log_exception(text: str) -> None:
    try:
        raise RuntimeError(text)
    except RuntimeError:
        logging.getLogger("app").exception("failed")


def log_chained(text: str) -> None:
    try:
        raise_chained(text)
    except ValueError:
        logging.getLogger("app").exception("failed")


def run_in_thread(function: Callable[[str], None], text: str) -> None:
    thread = threading.Thread(target=function, args=(text,))
    thread.start()
    thread.join()


def end_process(text: str) -> None:
    """Do what the interpreter does with an exception that reaches the top."""
    try:
        raise_chained(text)
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)


class Finalized:
    """Raises where nobody can catch it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __del__(self) -> None:
        raise RuntimeError(self.text)


def warn(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn(text, stacklevel=1)


WAYS: dict[str, Callable[[str], object]] = {
    "message": lambda text: logging.getLogger("app").warning(text),
    "args": lambda text: logging.getLogger("app").warning("with %s", text),
    "a mapping in args": lambda text: logging.getLogger("app").warning("%(a)r", {"a": text}),
    "extra": lambda text: logging.getLogger("app").warning("x", extra={"found": {"a": [text]}}),
    "exc_info": log_exception,
    "chained exceptions": log_chained,
    "stack_info": lambda text: logging.getLogger("app").warning(text, stack_info=True),
    "child logger": lambda text: logging.getLogger("app.core.deep").error("%r", [text]),
    "a library's logger": lambda text: logging.getLogger("sqlalchemy.pool").error("%s", text),
    "gunicorn's error log": lambda text: logging.getLogger("gunicorn.error").error("%s", text),
    "gunicorn's access log": lambda text: logging.getLogger("gunicorn.access").info(
        "%(m)s %(U)s %(s)s", {"m": "GET", "U": text, "s": "404"}
    ),
    "uncaught": end_process,
    "uncaught in a thread": lambda text: run_in_thread(raise_chained, text),
    "uncaught in a finalizer": lambda text: Finalized(text) and None,
    "a warning": warn,
}


def everything_in(written: str) -> str:
    """Return the lines as they are, and with what JSON escapes in them taken back."""
    decoded = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    return "\n".join([written, *(text for line in decoded for text in strings(line))])


def strings(found: object) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        for each in found.values() if isinstance(found, dict) else found:
            yield from strings(each)


def written_by(way: str, output: io.StringIO) -> Iterator[tuple[str, str, str]]:
    """Send each value in each form that way, and give value, form and what was written."""
    for value in (CURRENT, PREVIOUS):
        for form, encode in FORMS.items():
            output.seek(0)
            output.truncate()
            WAYS[way](encode(value))
            yield value, form, everything_in(output.getvalue())


@pytest.mark.parametrize("way", WAYS)
def test_no_form_of_a_value_is_written(redactor: Redactor, output: io.StringIO, way: str) -> None:
    for value, form, written in written_by(way, output):
        assert "[redacted]" in written, form
        assert not [trace for trace in traces(value) if trace in written], form


@pytest.mark.parametrize("way", WAYS)
def test_without_redaction_every_form_is_written(
    redactor: Redactor, output: io.StringIO, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The control: what is looked for above can be seen."""
    monkeypatch.setattr(redactor, "redact", str)
    for value, form, written in written_by(way, output):
        assert [trace for trace in traces(value) if trace in written], form


def test_a_message_with_the_wrong_arguments_is_not_printed_past_the_formatter(
    redactor: Redactor, output: io.StringIO
) -> None:
    logging.getLogger("app").warning("%d", CURRENT)
    line = json.loads(output.getvalue())
    assert "test_logs.py" in line["message"]
    assert "can't be formatted: TypeError" in line["message"]


def test_without_the_formatter_a_message_with_the_wrong_arguments_is_printed(
    redactor: Redactor, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    logger, handler = logging.Logger("test"), logging.StreamHandler(output)
    logger.addHandler(handler)
    with contextlib.redirect_stderr(output):
        logger.warning("%d", CURRENT)
    assert repr(CURRENT) in output.getvalue()


class Full(io.StringIO):
    """A stream that takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("prints", [False, True])
def test_a_line_that_can_not_be_written_is_not_printed_past_the_formatter(
    redactor: Redactor, output: io.StringIO, monkeypatch: pytest.MonkeyPatch, prints: bool
) -> None:
    """The second time is the control: this is what logging does by itself."""
    if prints:
        monkeypatch.setattr(logging, "raiseExceptions", True)
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(Full())
    with contextlib.redirect_stderr(output):
        logging.getLogger("app").warning("%s", CURRENT)
    assert (repr(CURRENT) in output.getvalue()) is prints


def test_probes_that_succeeded_are_not_worth_a_line(
    redactor: Redactor, output: io.StringIO
) -> None:
    access = logging.getLogger("gunicorn.access")
    for path, status in (("/livez", "200"), ("/readyz", "200"), ("/readyz", "503"), ("/", "200")):
        access.info("%(U)s %(s)s", {"U": path, "s": status})
    messages = [json.loads(line)["message"] for line in output.getvalue().splitlines()]
    assert messages == ["/readyz 503", "/ 200"]


def test_ctrl_c_is_no_uncaught_exception(redactor: Redactor, output: io.StringIO) -> None:
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert output.getvalue() == ""
