"""The reliability rows in short: the same staging as the benchmark, with small counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.accuracy import as_text
from benchmarks.reliability.__main__ import ROWS, measure
from benchmarks.reliability.bench import Bench, CannotRun


@pytest.mark.parametrize("name", ROWS)
def test_every_promise_holds_in_short(name: str, tmp_path: Path) -> None:
    try:
        row = measure(name, Bench("quick", tmp_path))
    except CannotRun as reason:
        pytest.skip(f"{name} cannot run here: {reason}")
    assert row.figures and row.wanted, "a row that measures nothing proves nothing"
    assert not row.missed, as_text(row)
