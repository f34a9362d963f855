"""What the study of losses trains, and how it tells."""

import json

import pytest

pytest.importorskip("torch")

from benchmarks.loss_study import Study, recipes, table  # noqa: E402
from reid.recipe import check  # noqa: E402


def test_every_run_is_a_recipe_that_can_be_and_none_comes_twice():
    runs = recipes(full=True, steps=10, seeds=2)
    assert len(runs) == 2 * ((4 + 4) * 2 + 1)  # seeds, losses with and without identities, identities alone
    assert len({recipe for _, recipe in runs}) == len(runs)
    for _, recipe in runs:
        check(recipe)
    assert len(recipes(full=False, steps=10, seeds=1)) == 4


def test_a_run_that_is_done_is_not_trained_again(tmp_path):
    (name, recipe), *_ = recipes(full=False, steps=10, seeds=1)
    folder = tmp_path / "contrastive_batch-hard_0"
    folder.mkdir()
    done = {"loss": name, "seed": 0, "steps": 10, "minutes": 1.0, "rank1": 50.0, "mAP": 25.0, "EER": 5.0}
    (folder / "scores.json").write_text(json.dumps(done))
    assert Study(tmp_path / "no_data", tmp_path, None, "cpu").score(name, recipe) == done
    assert table([done]).splitlines()[-1] == "| contrastive, batch-hard | 0 | 10 | 1.0 | 50.0 | 25.0 | 5.0 |"
