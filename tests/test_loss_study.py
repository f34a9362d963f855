"""What is trained, and that a result is of the very recipe that was asked for."""

import dataclasses
import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from benchmarks import loss_study  # noqa: E402  # after the check for torch
from benchmarks.loss_study import BASE, LOSSES, MORE, Study, recipes, table  # noqa: E402
from reid.recipe import check  # noqa: E402


def test_every_recipe_can_be_and_differs_from_the_others_in_what_is_compared() -> None:
    few = recipes(full=False, steps=10, seeds=1)
    assert [name for name, _ in few] == list(LOSSES)
    all_of_them = recipes(full=True, steps=10, seeds=2)
    # 8 losses and miners, each with and without identities, and identities alone; by 2 seeds.
    assert len(LOSSES | MORE) == 8 and len(all_of_them) == 2 * (2 * 8 + 1)
    assert len({recipe for _, recipe in all_of_them}) == len(all_of_them)
    for _, recipe in all_of_them:
        check(recipe)
        same = ("loss", "margin", "miner", "identity", "seed", "steps")
        assert dataclasses.replace(recipe, **{name: getattr(BASE, name) for name in same}) == BASE


def test_a_result_of_another_recipe_is_not_taken_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of a short trial were answered for the whole run, since both lie in one folder."""
    short, whole = (dataclasses.replace(LOSSES["triplet, batch-hard"], steps=steps) for steps in (5, 5000))
    done = tmp_path / "triplet_batch-hard_0"
    done.mkdir()
    (done / "scores.json").write_text(json.dumps({"mAP": 1.0}))
    monkeypatch.setattr(loss_study, "load_checkpoint", lambda path: (None, short))
    study = Study(tmp_path, tmp_path, None, "cpu")
    assert study.score("triplet, batch-hard", short) == {"mAP": 1.0}
    with pytest.raises(ValueError, match="triplet_batch-hard_0 was made with another recipe"):
        study.score("triplet, batch-hard", whole)


def test_a_table_has_a_line_for_each_run() -> None:
    row = {"loss": "a", "seed": 0, "steps": 5, "minutes": 0.1, "rank1": 50.0, "mAP": 25.0, "EER": 9.0}
    assert table([row]).splitlines()[2] == "| a | 0 | 5 | 0.1 | 50.0 | 25.0 | 9.0 |"
