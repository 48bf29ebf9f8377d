"""Those who ask the database all the time, as the service does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import sqlalchemy
from sqlalchemy import text

from app.core.database import Database

THREADS = 8


class Load:
    """Threads that ask the database all the time, and what came of it."""

    def __init__(self, database: Database, threads: int = THREADS) -> None:
        self.database = database
        self.roles: set[str] = set()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._turns = [0] * threads
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(threads)]

    def turn(self, times: int = 1) -> Callable[[], bool]:
        """Return what tells whether every thread has asked so many times, from now on."""
        enough = [turns + times + 1 for turns in self._turns]  # one of them may have begun before
        return lambda: all(now >= least for now, least in zip(self._turns, enough, strict=True))

    def _ask(self, number: int) -> None:
        while not self._stop.is_set():
            self._turns[number] += 1
            try:
                with self.database.begin() as connection:
                    self.roles.add(connection.execute(text("SELECT current_user")).scalar_one())
            except sqlalchemy.exc.SQLAlchemyError as error:
                self.failures.append(str(error))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
