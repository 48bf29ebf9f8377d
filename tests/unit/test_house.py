"""The rules of the house: what a module has, how long a function is, which way imports point."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: As many lines as a screen has.
SCREEN = 50

MODULES = sorted(
    path
    for folder in ("app", "chart", "cluster", "local", "tests")
    for path in (ROOT / folder).rglob("*.py")
)

OF_APP = [path for path in MODULES if path.is_relative_to(ROOT / "app")]

SCRIPTS = sorted(
    path
    for folder in (".ci", "cluster", "tests/chart")
    for path in (ROOT / folder).iterdir()
    if path.is_file() and path.read_bytes().startswith(b"#!")
)

#: Who of app/ may import whom: only what stands further up. The keeper is apart. A module of your
#: own has its place here, too.
LAYERS = (
    ("secret_files",),
    ("keys",),
    ("settings",),
    ("connection",),
    ("database", "logs", "management", "metrics", "session", "tls", "worker"),
    ("journal",),
    ("views",),
    ("app",),
    ("gunicorn.conf", "wsgi"),
)

#: Which test stands for a module where none has its name.
STANDS_ELSEWHERE = {
    "app/keys.py": "tests/unit/test_settings.py",
    "app/gunicorn.conf.py": "tests/integration/test_gunicorn.py",
    "app/worker.py": "tests/integration/test_gunicorn.py",
    "app/wsgi.py": "tests/integration/test_gunicorn.py",
    "app/views/health.py": "tests/integration/test_health_and_status.py",
    "app/views/status.py": "tests/integration/test_health_and_status.py",
    "app/keeper/__main__.py": "tests/unit/keeper/test_command_line.py",
    "app/keeper/fill.py": "tests/integration/test_keeper.py",
    "app/keeper/keeper.py": "tests/integration/test_keeper.py",
    "app/keeper/objects.py": "tests/unit/keeper/test_access.py",
    "app/keeper/plan.py": "tests/unit/keeper/test_settings.py",
    "app/keeper/renewal.py": "tests/integration/test_renewal.py",
    "app/keeper/retirement.py": "tests/integration/test_retirement.py",
    "app/keeper/status.py": "tests/unit/keeper/test_command_line.py",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_package(path: Path) -> bool:
    return path.name == "__init__.py"


def has_docstring(source: str) -> bool:
    return bool(ast.get_docstring(ast.parse(source)))


def long_functions(source: str) -> list[str]:
    """Return the functions that don't fit a screen."""
    return [
        f"{node.name}: {lines} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > SCREEN
    ]


def says_what_for(script: str) -> bool:
    """Tell whether a script's second line is a comment."""
    return script.split("\n")[1].startswith("# ")


def imports(path: Path, source: str) -> Iterator[str]:
    """Yield what a module of app/ imports, each with its full name."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            origin = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def part(module: str) -> str:
    """Return to which part of the service a module belongs, by its full name."""
    _, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    parts = {"keeper", *(one for layer in LAYERS for one in layer)}
    return first if first in parts else "app"


def wrong_imports(path: Path, source: str) -> list[str]:
    """Return which of a module's imports point the wrong way."""
    within = path.relative_to(ROOT / "app").parts
    own = within[0].removesuffix(".py").replace("__init__", "app")
    if own == "keeper":
        below = {"secret_files"}
    else:
        level = next((number for number, layer in enumerate(LAYERS) if own in layer), None)
        assert level is not None, f"say in LAYERS of {__file__} where app/{own} stands"
        below = {one for layer in LAYERS[:level] for one in layer}
    wrong = []
    for imported in imports(path, source):
        top = imported.partition(".")[0]
        to = part(imported) if top == "app" else ""
        if to and to not in {own, *below}:
            wrong.append(imported)
        if top == "flask" and own in ("secret_files", "keeper"):
            wrong.append(imported)
    return wrong


def stands_for(module: Path) -> list[Path]:
    """Return where a module's test stands, if it has the module's name."""
    *folders, file = module.relative_to(ROOT / "app").parts
    test = f"test_{file}"
    places = [ROOT / "tests" / "unit" / Path(*folders) / test]
    if folders == ["keeper"]:
        places.append(ROOT / "tests" / "integration" / f"test_keeper_{file}")
    else:
        places.append(ROOT / "tests" / "integration" / test)
    if folders == ["views"]:
        places.append(ROOT / "tests" / "unit" / test)
    return [place for place in places if place.exists()]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("app.secret_files", "flask sqlalchemy psycopg cryptography yaml"),
        ("app.keeper.__main__", "flask sqlalchemy prometheus_client"),
        ("local.keeper", "flask sqlalchemy prometheus_client"),
    ],
)
def test_a_program_loads_no_more_than_it_needs(module: str, absent: str) -> None:
    """Each start of the keeper would cost twice the time, and `secret_files` is for copying."""
    program = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    loaded = ran.stdout.split()
    assert module in loaded, ran.stderr
    assert not {*absent.split()} & {*loaded}


def test_every_module_says_what_it_is_for() -> None:
    assert len(MODULES) > 100
    silent = [name(path) for path in MODULES if not has_docstring(path.read_text("utf-8"))]
    assert silent == []


def test_so_does_every_script() -> None:
    assert len(SCRIPTS) > 5
    assert [name(path) for path in SCRIPTS if not says_what_for(path.read_text("utf-8"))] == []


def test_so_does_what_templates_share() -> None:
    shared = sorted((ROOT / "chart" / "templates").glob("_*.tpl"))
    assert shared
    assert [path.name for path in shared if not path.read_text("utf-8").startswith("{{/* ")] == []


def test_every_function_fits_a_screen() -> None:
    long = {name(path): long_functions(path.read_text("utf-8")) for path in MODULES}
    assert {path: functions for path, functions in long.items() if functions} == {}


def test_all_imports_point_one_way() -> None:
    wrong = {name(path): wrong_imports(path, path.read_text("utf-8")) for path in OF_APP}
    assert len(wrong) > 40
    assert {path: imported for path, imported in wrong.items() if imported} == {}


def test_a_test_stands_for_each_module() -> None:
    # either under its name, or where the table says
    without = {name(path) for path in OF_APP if not is_package(path) and not stands_for(path)}
    assert without == set(STANDS_ELSEWHERE)


@pytest.mark.parametrize("module", STANDS_ELSEWHERE)
def test_the_test_that_stands_elsewhere_is_there(module: str) -> None:
    assert (ROOT / module).exists()
    assert (ROOT / STANDS_ELSEWHERE[module]).exists()


def test_a_function_that_is_too_long_is_seen() -> None:
    source = "def long():\n" + "    pass\n" * SCREEN
    assert long_functions(source) == [f"long: {SCREEN + 1} lines"]
    assert long_functions(source.removesuffix("    pass\n")) == []


def test_a_module_or_a_script_without_a_word_is_seen() -> None:
    assert not has_docstring("# a comment\nimport ast\n")
    assert not says_what_for("#!/usr/bin/env bash\nset -euo pipefail\n")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("app/secret_files/store.py", "from flask import g"),
        ("app/secret_files/store.py", "from ..settings import Settings"),
        ("app/keeper/plan.py", "from ..settings import Settings"),
        ("app/keeper/plan.py", "import app.database"),
        ("app/keeper/plan.py", "import flask"),
        ("app/database.py", "from .views import notes"),
        ("app/database.py", "from . import session"),
        ("app/session.py", "from .database import Database"),
        ("app/settings.py", "from . import create_app"),
        ("app/views/notes.py", "from ..keeper import plan"),
        ("app/views/notes.py", "from .. import create_app"),
        ("app/__init__.py", "from .keeper import plan"),
        ("app/wsgi.py", "from app.keeper.plan import Plan"),
    ],
)
def test_an_import_that_points_the_wrong_way_is_seen(module: str, line: str) -> None:
    assert len(wrong_imports(ROOT / module, line)) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("app/secret_files/store.py", "from .value import Secret"),
        ("app/keeper/plan.py", "from ..secret_files import Secret"),
        ("app/views/notes.py", "from .errors import InvalidField"),
        ("app/views/notes.py", "from . import panel"),
        ("app/__init__.py", "from . import views"),
        ("app/wsgi.py", "from . import create_app"),
    ],
)
def test_one_that_points_the_right_way_is_none_of_them(module: str, line: str) -> None:
    assert wrong_imports(ROOT / module, line) == []
