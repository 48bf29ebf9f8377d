"""The files that `make chart-docs` writes from chart/values.yaml are up to date."""

from __future__ import annotations

import pytest

from chart import docs
from tests.chart.conftest import FOLDER


@pytest.mark.parametrize("name", ["README.md", "values.schema.json"])
def test_a_file_is_up_to_date(name: str) -> None:
    values, template, stored = (
        (FOLDER / file).read_text("utf-8") for file in ("values.yaml", "README.template.md", name)
    )
    made = docs.schema(values) if name.endswith(".json") else docs.readme(values, template)
    if stored != made:
        pytest.fail(f"chart/{name} is out of date: run `make chart-docs`", pytrace=False)
