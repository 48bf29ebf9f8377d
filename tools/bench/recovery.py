"""How long a database that goes away is noticed, beside the service without its limits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from tools.local.server import Address, OwnServer, own_server
from tools.problem import Problem
from tools.service import Answer, Service

from .report import Goal, Table

ROUNDS: Final = 3
#: Who waits longer, in seconds, gives up.
PATIENCE: Final = 20
#: How long the server is frozen, in seconds.
FROZEN: Final = 12
CLIENTS: Final = 20

CONFIG: Final = "app/gunicorn.conf.py"
UNLIMITED_CONFIG: Final = "tools/bench/unlimited.conf.py"

READ: Final = "/"
WRITE: Final = "/api/notes"
NOTE: Final = json.dumps({"text": "after a failover"}).encode()


class Place:
    """A service, the address that leads to its database, and the servers."""

    def __init__(self, service: Service, address: Address, primary: OwnServer, standby: OwnServer):
        self.service = service
        self.address = address
        self.primary = primary
        self.standby = standby

    def wait(self, path: str, status: int, body: bytes | None = None) -> float:
        """Return how long it takes until the service answers so; `PATIENCE` at most."""
        started = time.monotonic()
        while (waited := time.monotonic() - started) < PATIENCE:
            if self.service.ask(path, body, PATIENCE).status == status:
                break
            time.sleep(0.05)
        return min(waited, PATIENCE)

    def ask_at_once(self, number: int) -> list[Answer]:
        """Return the answers to so many requests that are sent at the same time."""
        with ThreadPoolExecutor(number) as pool:
            return list(pool.map(lambda _: self.service.ask(READ, None, PATIENCE), range(number)))


def table(folder: Path) -> Table:
    """Measure each outage in turn, with the limits and without them."""
    rows: dict[str, tuple[list[float], list[float]]] = {}
    with (
        own_server(folder / "primary") as primary,
        primary.standby(folder / "standby") as standby,
    ):
        for number in range(ROUNDS):
            for side, config in enumerate((CONFIG, UNLIMITED_CONFIG)):
                output = folder / f"recovery-{number}-{side}"
                for what, seconds in _measure(primary, standby, config, output).items():
                    rows.setdefault(what, ([], []))[side].append(seconds)
    return Table(
        "A database that goes away",
        f"In seconds, medians of {ROUNDS} rounds, beside the service without limits for the "
        f"database and for clients. Who waits for {PATIENCE} s gives up, so that {PATIENCE} means "
        f"at least as much. The frozen server is so for {FROZEN} s, under {CLIENTS} clients.",
        ["", "service", "without limits", "goal", "result"],
        [_row(what, *sides) for what, sides in rows.items()],
    )


GOALS: Final = {
    "stopped sessions: the slowest of ten answers": Goal(15),
    "a frozen server: the slowest answer": Goal(15),
    "a frozen server: until an answer, once it goes on": Goal(10),
    "a failover: until a write succeeds, once it is over": Goal(10),
}


def _row(what: str, ours: list[float], theirs: list[float]) -> tuple[str, ...]:
    found = median(ours)
    return (what, f"{found:.1f}", f"{median(theirs):.1f}", *GOALS[what].cells(found))


def _measure(primary: OwnServer, standby: OwnServer, config: str, output: Path) -> dict[str, float]:
    measures: list[Callable[[Place], list[float]]] = [_stopped, _frozen, _failover]
    found: list[float] = []
    for measure in measures:
        with ExitStack() as stack:
            address = stack.enter_context(Address(primary))
            attrs = {} if config == CONFIG else {"DATABASE_TARGET_SESSION_ATTRS": "any"}
            port = {"DATABASE_PORT": str(address.port)}
            service = Service.start(output, primary.settings | port | attrs, config)
            stack.callback(service.process.wait)
            stack.callback(service.process.kill)
            place = Place(service, address, primary, standby)
            if place.wait(WRITE, 201, NOTE) == PATIENCE:
                raise Problem(f"the service did not start: {output.read_text()[-500:]}")
            place.ask_at_once(CLIENTS)
            found += measure(place)
    return dict(zip(GOALS, found, strict=True))


def _stopped(place: Place) -> list[float]:
    with place.primary.frozen(place.primary.sessions()):
        answers = place.ask_at_once(10)
    return [min(PATIENCE, max(answer.seconds for answer in answers))]


def _frozen(place: Place) -> list[float]:
    answers: list[Answer] = []
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            answers.append(place.service.ask(READ, None, PATIENCE))
            done.wait(0.1)

    threads = [threading.Thread(target=go_on) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    with place.primary.frozen():
        time.sleep(FROZEN)  # as long as it is away
    back = place.wait(READ, 200)
    done.set()
    for thread in threads:
        thread.join()
    return [min(PATIENCE, max(answer.seconds for answer in answers)), back]


def _failover(place: Place) -> list[float]:
    place.address.lead_to(place.standby)
    for _ in range(CLIENTS):
        place.service.ask(WRITE, NOTE, PATIENCE)
    place.address.lead_to(place.primary, cut_off=False)
    return [place.wait(WRITE, 201, NOTE)]
