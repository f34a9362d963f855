"""Who is timed when, and on what."""

import numpy as np
import pytest

from benchmarks.embedder_speed import WARM_UP, Speed, as_text, batch_for, main, take_turns


def test_models_take_turns_and_the_warm_up_does_not_count() -> None:
    clock, order = [0.0], []

    def run(name: str, seconds: float) -> None:
        order.append(name)
        clock[0] += seconds

    spent = take_turns([lambda: run("a", 1.0), lambda: run("b", 3.0)], 2, now_s=lambda: clock[0])
    assert spent.tolist() == [[1.0, 3.0], [1.0, 3.0]]
    assert "".join(order[2 * WARM_UP :]) == "abba"  # the second round begins with the second


def test_a_batch_is_what_the_model_asks_for() -> None:
    ours = batch_for(["N", "H", "W", 3], "tensor(uint8)", 2)
    assert ours.shape == (2, 128, 64, 3) and ours.dtype == np.uint8
    theirs = batch_for(["batch", 3, 256, 128], "tensor(float)", 32)
    assert theirs.shape == (32, 3, 256, 128) and theirs.dtype == np.float32
    with pytest.raises(ValueError, match="batches of 1 alone, not of 32"):
        batch_for([1, 3, 256, 128], "tensor(float)", 32)
    with pytest.raises(ValueError, match="not tensor\\(int64\\)"):
        batch_for(["N", 7], "tensor(int64)", 1)


def test_a_line_for_each_model_and_batch() -> None:
    found = [Speed("ours", 4_200_000, "uint8", batch, 1.25, 1.0, 1.5) for batch in (1, 32)]
    lines = as_text(found).splitlines()
    assert len(lines) == 3 and lines[2].split() == ["ours", "32", "1.250", "1.000", "to", "1.500", "4200"]


def test_an_unknown_model_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reserch"]) == 2
    assert "did you mean research?" in capsys.readouterr().err


def test_the_shipped_model_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["research", "--batches", "1", "--rounds", "1"]) == 0
    assert "research" in capsys.readouterr().out
