"""What the keeper loads while it runs: none of the service, and nothing that serves.

It is the process with the administrator's password.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import Database
from tools.local.place import TABLES

ROOT: Final = Path(__file__).parents[2]

#: What has no place in this process: the other packages here, and those that serve.
OURS: Final = frozenset(["app", "chart", "tests", "tools"])
SERVING: Final = frozenset(
    ["flask", "gunicorn", "jinja2", "prometheus_client", "sqlalchemy", "werkzeug"]
)
FOREIGN: Final = OURS | SERVING

#: Prints what is loaded when a program ends, as the last line.
AT_END: Final = "import atexit, sys; atexit.register(lambda: print(*sys.modules))\n"
#: The command line, with a directory in the place of the Kubernetes API, and no pod to wait for.
COMMAND: Final = """
from dataclasses import replace
from pathlib import Path
from keeper import __main__ as command_line, kubernetes_secrets
from keeper.folder_secrets import FolderSecrets
plan_from = command_line.plan_from
command_line.plan_from = lambda values: replace(plan_from(values), service=None)
kubernetes_secrets.KubernetesSecrets = lambda: FolderSecrets(Path("."))
sys.exit(command_line.main())
"""


def loaded(
    folder: Path, program: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> tuple[int, set[str]]:
    """Run a program, and return its exit status and the top-level modules that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", AT_END + program, *arguments],
        env={"PYTHONPATH": str(ROOT), **(environment or {})},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    modules = done.stdout.splitlines()[-1].split()
    return done.returncode, {module.partition(".")[0] for module in modules}


@pytest.fixture(scope="module")
def release(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Return a directory of Secrets with the administrator's, and the keeper's environment."""
    root = tmp_path_factory.mktemp("release")
    shutil.copytree(database.root / "admin", root / "admin", symlinks=True)
    yield (
        root,
        {
            "SERVICE_SECRET": "secrets",
            "DATABASE_ADMIN_SECRET": "admin",
            "DATABASE_HOST": database.server.host,
            "DATABASE_NAME": "sales",
            "DATABASE_SSLMODE": "disable",
            "CA_SECRET": "ca",
            "TLS_SECRET": "tls",
            "TLS_NAMES": "localhost",
            "PODS_HOST": "localhost",
            "TABLES_DIR": str(TABLES),
        },
    )
    database.execute("DROP DATABASE IF EXISTS sales")
    database.execute("DROP ROLE IF EXISTS sales_a, sales_b, sales_service")


def test_the_package_loads_nothing_of_the_service(tmp_path: Path) -> None:
    status, modules = loaded(tmp_path, "import keeper")
    assert (status, modules & FOREIGN) == (0, set())
    assert "keeper" in modules


@pytest.mark.parametrize("line", ["run", "rotate --new-authority", "status"])
def test_a_command_loads_nothing_of_the_service(
    release: tuple[Path, dict[str, str]], line: str
) -> None:
    root, environment = release
    status, modules = loaded(root, COMMAND, *line.split(), environment=environment)
    assert (status, modules & FOREIGN) == (0, set())
    assert {"keeper", "secret_files", "psycopg", "kubernetes", "cryptography"} <= modules


@pytest.mark.parametrize("line", ["fill", "run"])
def test_wrong_usage_loads_nothing_of_the_service(tmp_path: Path, line: str) -> None:
    status, modules = loaded(tmp_path, COMMAND, *line.split())
    assert (status, modules & FOREIGN) == (2, set())
