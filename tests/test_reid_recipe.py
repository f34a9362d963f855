"""Recipes: options to settings, and what cannot be."""

import argparse
from dataclasses import asdict, replace

import pytest

from reid.datasets import PARTS
from reid.recipe import RECIPES, Recipe, add_arguments, check, from_options, from_table


def asked(*words: str) -> Recipe:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_options(parser.parse_args(words))


def test_without_options_the_recipe_is_the_shipped_one():
    assert asked() == RECIPES["research"] == Recipe()


def test_options_change_a_named_recipe():
    recipe = asked("--recipe", "market", "--steps", "10", "--hold-out", "5", "--learning-rate", "0.1")
    assert recipe == replace(RECIPES["market"], steps=10, hold_out=(5,), learning_rate=0.1)


def test_every_named_recipe_can_be():
    for recipe in RECIPES.values():
        check(recipe)


def test_a_recipe_survives_the_way_through_a_checkpoint():
    recipe = RECIPES["without_market"]
    table = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(recipe).items()}
    assert from_table(table) == recipe


def test_what_is_rendered_is_learnt_without_a_real_picture():
    # An embedder of clean provenance: rendered pictures only, and no first weights made from others.
    recipe = RECIPES["rendered"]
    assert recipe.sets == ("rendered.zip",)
    assert not set(recipe.sets) & set(PARTS)
    assert recipe.start == "chance"
    # Those of the comparison with real pictures alone never saw Market-1501 either.
    assert "market1501_train" not in RECIPES["rendered_and_real"].sets


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": (1.0,)}, "each of the 3 sets"),
        ({"loss": "hinge"}, "no loss is called 'hinge'"),
        ({"miner": "magic"}, "no miner is called"),
        ({"loss": "none", "identity": 0.0}, "learns nothing"),
        ({"start": "coco"}, "not from 'coco'"),
        ({"network": "osnet_x0_25"}, "no first weights"),
        ({"people": 1}, "at least 2 people"),
        ({"steps": 0}, "at least 1 step"),
        ({"width": 16}, "at least 32 pixels"),
    ],
)
def test_what_cannot_be_is_said(change, said):
    with pytest.raises(ValueError, match=said):
        check(replace(Recipe(), **change))


def test_a_table_of_something_else_is_refused():
    with pytest.raises(ValueError, match="no recipe has a 'depth'"):
        from_table({"network": "lite", "depth": 3})
    with pytest.raises(ValueError, match="names no network"):
        from_table({"dim": 3})
