"""A crash writes no memory, in which secrets stand, to a disk."""

from __future__ import annotations

import resource


def forbid_core_dumps() -> None:
    """Let neither this process nor one that it starts leave a core file.

    Where the kernel hands cores to a program (``kernel.core_pattern`` begins with ``|``), that
    program is given the limit and has to heed it, as systemd-coredump does:
    https://man7.org/linux/man-pages/man5/core.5.html
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
