"""What a scan looks at, and what it looks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.cluster.client import Cluster

from .needles import Needles

if TYPE_CHECKING:
    from .reader import Reader
    from .watch import Watch


@dataclass(frozen=True)
class Target:
    """A release on a cluster, and the repository that it was made from."""

    cluster: Cluster
    needles: Needles
    #: Reads Secrets, with the identity that is there for it.
    reader: Reader
    #: Has seen the processes that came and went.
    watch: Watch
    #: The image of the service, as Docker on this machine has it.
    image: str
    #: The repository's folder.
    root: Path

    def sql(self, statement: str) -> str:
        """Run a statement as the database's administrator, and return the first value."""
        return self.cluster.sql(statement, login=self.reader.login())
