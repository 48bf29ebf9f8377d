"""The chart's fixtures, for what is about the chart and this repository alike."""

from tests.chart.conftest import pinned, render, schemas  # noqa: F401
