"""A target without a cluster, for what is read of none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secret_files import Secret
from tools.cluster.client import Cluster
from tools.leakscan.needles import Needles
from tools.leakscan.target import Target

#: Asked for anything, it fails.
NOWHERE = Cluster("none", "0")


def target_for(value: Secret, root: Path = Path(), reader: Any = None) -> Target:
    """Return one in which this value is looked for."""
    nobody: Any = None
    return Target(NOWHERE, Needles([value]), reader, nobody, "none", root)
