"""What the library loads: the standard library, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "secret_files"
PROGRAM = (
    "import sys; before = set(sys.modules); import secret_files; print(*{*sys.modules} - before)"
)


def test_loads_the_standard_library_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.split())
    own = {f"secret_files.{path.stem}" for path in PACKAGE.glob("[!_]*.py")} | {"secret_files"}
    assert own <= modules
    assert {name.partition(".")[0] for name in modules - own} <= sys.stdlib_module_names
