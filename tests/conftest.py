"""What every test has: one thread per network and a clean place for what a user's machine would keep."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's own model cache."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("THROUGHLINE_CACHE", str(folder))
    return folder
