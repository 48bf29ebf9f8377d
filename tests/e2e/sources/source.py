"""What the contract asks of each source."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.e2e.release import Release
from tests.e2e.sources.manager import Manager

#: By an earlier one, too.
GONE = ("--ignore-not-found",)


@dataclass
class Deployed:
    """A release, and the manager that has its secrets."""

    release: Release
    manager: Manager

    @property
    def deployment(self) -> dict[str, Any]:
        """Return the service's Deployment, as the API server has it."""
        name = ("get", "deployment", self.release.cluster.fullname, "--output", "json")
        found: dict[str, Any] = json.loads(self.release.cluster.kubectl(*name))
        return found

    def patch(self, spec: dict[str, Any]) -> None:
        """Change the spec of the service's pods, as a webhook does at their admission."""
        cluster = self.release.cluster
        patch = ("patch", f"deployment/{cluster.fullname}", "--patch-file=/dev/stdin")
        cluster.kubectl(*patch, stdin=json.dumps({"spec": {"template": {"spec": spec}}}))

    def remove(self) -> None:
        """Remove the Deployment: Helm would leave what was changed in it."""
        cluster = self.release.cluster
        cluster.kubectl("delete", f"deployment/{cluster.fullname}", "--cascade=foreground", *GONE)


@dataclass
class Source(Deployed, ABC):
    """One who brings the secrets to the release's pods."""

    #: The chart's.
    values: ClassVar[tuple[str, ...]]
    #: What the password is called where the leak scan finds it.
    password: ClassVar[str] = "DATABASE_PASSWORD"
    #: What stands in an event of a pod that waits for the password, or in its status.
    waiting: ClassVar[str]
    #: Why the service refuses what is left when the password goes away; "": it does not see that.
    refused: ClassVar[str]

    @abstractmethod
    def begin(self) -> None:
        """Bring everything but the password, to pods that the chart has just made."""

    @abstractmethod
    def bring(self) -> None:
        """Bring the manager's current values."""

    @abstractmethod
    def forget(self) -> None:
        """Do what this source does when the password goes away."""

    @abstractmethod
    def end(self) -> None:
        """Leave the release as the next source has to find it."""
