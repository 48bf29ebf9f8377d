"""docs/settings.md and .env.example have the template's settings, with their defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.core.settings import CoreSettings
from app.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_example_is_valid_and_has_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    monkeypatch.chdir(tmp_path)
    assert Settings.load() == Settings.from_mapping({})


def test_the_page_has_each_setting_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \| (.+?) \|", page)
    defaults = dict(
        pair
        for names, values in rows
        for pair in zip(re.findall("`([A-Z_]+)`", names), values.split(", "), strict=False)
    )
    settings = vars(CoreSettings.from_mapping({}))
    assert {name.lower() for name in defaults} == set(settings)
    for name, default in defaults.items():
        if found := re.match("`([^`]+)`", default):
            assert str(settings[name.lower()]).removesuffix(".0") == found[1]
