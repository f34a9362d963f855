"""Models side by side: times in turns, the table, and who is not beaten in both time and accuracy."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from reid import compare
from reid.compare import Compared, crop_times_ms, curve, front, interleaved_ms, markdown, parameters_of


def compared(name: str, ms: float, mean_ap: float, *, parameters: int | None = 1_500_000) -> Compared:
    row = {"rank1": 80.0, "mAP": mean_ap, "EER": 5.0}
    return Compared(name, "a" * 64, 6_000_000, parameters, 256, {"market1501": row}, {1: ms, 32: ms / 2})


# --- time


def test_every_call_runs_once_a_round_and_none_always_follows_the_same_other(monkeypatch: pytest.MonkeyPatch):
    ran: list[str] = []
    calls = [lambda: ran.append("a"), lambda: ran.append("b"), lambda: ran.append("c")]
    interleaved_ms(calls, rounds=4)
    # Each once beforehand, then rounds that start one further on.
    assert "".join(ran) == "abc" + "abc" + "bca" + "cab" + "abc"


def test_a_time_is_the_median_of_its_rounds_and_not_of_the_first_call(monkeypatch: pytest.MonkeyPatch):
    now = {"s": 0.0}
    spent = iter([100.0, 1.0, 9.0, 2.0])  # seconds: warm-up, then three rounds

    def call() -> None:
        now["s"] += next(spent)

    monkeypatch.setattr(compare.time, "perf_counter", lambda: now["s"])
    assert interleaved_ms([call], rounds=3) == [2000.0]  # of 1, 9 and 2 seconds


def test_no_round_is_no_time():
    with pytest.raises(ValueError, match="at least 1 round, not 0"):
        interleaved_ms([lambda: None], rounds=0)


def test_a_batch_counts_by_its_crops(monkeypatch: pytest.MonkeyPatch):
    now = {"s": 0.0}
    seen: list[tuple[int, ...]] = []

    class Slow:
        name, model_hash = "slow", "b" * 64

        def embed(self, crops):  # type: ignore[no-untyped-def]  # as short as a lambda
            now["s"] += 0.008
            seen.append((len(crops), *crops[0].shape))
            return np.zeros((len(crops), 2), np.float32)

    monkeypatch.setattr(compare.time, "perf_counter", lambda: now["s"])
    assert crop_times_ms([Slow()], 4, rounds=2) == pytest.approx([2.0])  # 8 ms for 4
    assert set(seen) == {(4, 128, 64, 3)}


# --- size


def test_weights_are_counted_and_whole_number_constants_are_not(tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    h, t = onnx.helper, onnx.numpy_helper
    weights = [
        t.from_array(np.zeros((4, 3), np.float32), "w"),  # 12
        t.from_array(np.zeros(5, np.float16), "b"),  # 5
        t.from_array(np.zeros(7, np.int8), "q"),  # 7
        t.from_array(np.zeros(100, np.int64), "shape"),
    ]
    graph = h.make_graph([], "g", [], [], weights)
    onnx.save(h.make_model(graph), str(tmp_path / "m.onnx"))
    assert parameters_of(tmp_path / "m.onnx") == 12 + 5 + 7


def test_without_the_onnx_package_the_number_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnx", None)  # as where it is not installed
    assert parameters_of(tmp_path / "m.onnx") is None
    assert "| `a` | unknown |" in markdown([compared("a", 2.0, 50.0, parameters=None)])


# --- table and picture


def test_the_table_is_markdown():
    assert markdown([compared("ours", 2.0, 57.9), compared("other", 13.2, 24.6)]).splitlines() == [
        "| model | parameters | file | market1501 rank-1 / mAP / EER | ms a crop, batch 1 | ms a crop, batch 32 |",
        "| --- | --- | --- | --- | --- | --- |",
        "| `ours` | 1.50 M | 6.0 MB | 80.0 / 57.9 / 5.0 | 2.00 | 1.00 |",
        "| `other` | 1.50 M | 6.0 MB | 80.0 / 24.6 / 5.0 | 13.20 | 6.60 |",
    ]


def test_the_front_is_whom_nobody_beats_in_both():
    #          cheap, poor  beaten by 0   dear, good   as dear, worse  as good, dearer
    points = [(1.0, 50.0), (2.0, 50.0), (4.0, 80.0), (4.0, 70.0), (5.0, 80.0)]
    assert front(points) == [0, 2]


def test_the_front_against_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = [tuple(map(float, row)) for row in rng.permutation(12)[:8].reshape(4, 2)]
        twin = {
            k
            for k, (cost, worth) in enumerate(points)
            if not any(c <= cost and w >= worth and (c, w) != (cost, worth) for c, w in points)
        }
        assert set(front(points)) == twin


@pytest.mark.parametrize("models", [1, 2])
def test_the_curve_has_a_dot_for_every_model(models: int):
    two = [compared("ours", 2.0, 57.9), compared("other", 13.2, 24.6)]
    picture = curve(two[:models])
    assert picture.shape == (compare.PANEL_HEIGHT, compare.PANEL_WIDTH, 3)
    dots = (picture == compare.DOT).all(axis=2)
    # A disc of radius 5 has some 79 pixels, its edge mixed with the paper.
    assert dots.sum() == pytest.approx(models * 79, rel=0.25)


def test_the_curve_has_a_panel_for_every_test():
    one = compared("ours", 2.0, 57.9)
    row = dict(one.tests["market1501"])
    both = Compared(**{**vars(one), "tests": {"market1501": row, "pku-1-2": row}})
    assert curve([both]).shape == (compare.PANEL_HEIGHT, 2 * compare.PANEL_WIDTH, 3)
