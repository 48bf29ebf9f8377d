"""``make rename NAME=…``, with ``WORKSHOP=1`` to keep the labs.

Exit status: 0 renamed, 2 refused, and nothing is changed.
"""

from __future__ import annotations

import os
import sys

from . import ROOT, Refused, rename


def main() -> int:
    """Rename the project, and return the exit status."""
    labs = os.environ.get("WORKSHOP") == "1"
    try:
        print(rename(ROOT, os.environ.get("NAME", ""), labs=labs))
    except Refused as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
