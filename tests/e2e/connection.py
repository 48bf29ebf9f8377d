"""Connections from one pod to another, or anywhere else, as the network lets them through."""

from __future__ import annotations

from dataclasses import dataclass

from tools.cluster.client import Cluster
from tools.poll import PollTimeout, poll

#: A host's name or address, and a port.
Target = tuple[str, int]

#: How long the rules of a new pod, or of a changed policy, may take, in seconds.
SETTLED = 30


@dataclass(frozen=True)
class Here:
    """A pod from which connections are tried."""

    cluster: Cluster
    pod: str

    def reaches(self, target: Target) -> bool:
        """Tell whether a connection is taken there."""
        script = 'timeout 3 bash -c "exec 3<>/dev/tcp/$0/$1" && echo open || echo closed'
        command = ("exec", self.pod, "--", "bash", "-c", script, target[0], str(target[1]))
        answer = self.cluster.kubectl(*command).strip()
        assert answer in ("open", "closed"), answer
        return answer == "open"

    def settles(self, target: Target, is_open: bool) -> bool:
        """Tell whether it becomes so, in the time that the network's rules may take."""
        try:
            return poll(lambda: self.reaches(target) is is_open, f"{target}", SETTLED, 0.5)
        except PollTimeout:
            return False
