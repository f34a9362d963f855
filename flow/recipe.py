"""All that decides what a training gives, but the packs; stored in every checkpoint.

No torch here: the command line reads its options, defaults and help from these fields.
"""

import argparse
from dataclasses import dataclass, field, fields, replace
from typing import Any


def _said(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training gives, but the packs."""

    network: str = _said("tiny", "which network: tiny, base, flownets, flownetc")
    width: float = _said(1.0, "share of the published channels (flownets, flownetc)")
    height: int = _said(192, "of the pictures shown, px")
    picture_width: int = _said(320, "of the pictures shown, px")
    small_until: float = _said(0.5, "share of the run with pictures of two thirds of that size")
    batch: int = _said(8, "pairs a step")
    steps: int = _said(20000, "steps of the run")
    minutes: float = _said(0.0, "end after that long at the latest; 0: only steps count")
    learning_rate: float = _said(1e-3, "highest, after the warm-up")
    warm_up: float = _said(0.03, "share of the run until the learning rate is highest")
    weight_decay: float = _said(1e-4, "of matrices, not of norms and biases")
    average: float = _said(2e-3, "how far the averaged network moves to the trained one at each step")
    pack_share: float = _said(0.5, "share of pairs that come from packs, if there are any")
    shown: float = _said(6.0, "how often a pair is shown, on average")
    seed: int = _said(0, "of all chance")


RECIPES = {
    "tiny": Recipe(),
    "base": Recipe(network="base", height=256, picture_width=320, batch=6),
    "flownets": Recipe(network="flownets", width=0.25, height=256, picture_width=320, learning_rate=5e-4),
    "flownetc": Recipe(network="flownetc", width=0.25, height=256, picture_width=320, learning_rate=5e-4),
}


def check(recipe: Recipe) -> None:
    """Say what in a recipe cannot be.

    Raises:
        ValueError: One sentence with the first thing found.
    """
    if recipe.steps < 1 or recipe.batch < 1 or recipe.minutes < 0.0:
        raise ValueError("a run needs at least 1 step of at least 1 pair, and minutes of at least 0")
    if not (recipe.learning_rate > 0.0 and 0.0 <= recipe.warm_up < 1.0 and 0.0 < recipe.average <= 1.0):
        raise ValueError("a run needs a learning rate above 0, a warm-up in [0, 1) and an average in (0, 1]")
    if not (
        min(recipe.pack_share, recipe.small_until) >= 0.0 and recipe.pack_share <= 1.0 and recipe.shown >= 1.0
    ):
        raise ValueError("pack_share lies between 0 and 1, and a pair is shown at least once")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option for each field of `Recipe`; ``--network`` names the recipe that the others change."""
    for one in fields(Recipe):
        name = f"--{one.name.replace('_', '-')}"
        if one.name == "network":
            parser.add_argument(
                name, choices=tuple(RECIPES), default="tiny", help="which (default: %(default)s)"
            )
        else:
            parser.add_argument(name, type=type(one.default), help=one.metadata["help"])


def from_options(options: argparse.Namespace) -> Recipe:
    """The recipe that the command line asks for.

    Raises:
        ValueError: It cannot be.
    """
    said = {one.name: getattr(options, one.name) for one in fields(Recipe)}
    recipe = replace(
        RECIPES[options.network], **{name: value for name, value in said.items() if value is not None}
    )
    check(recipe)
    return recipe


def from_table(table: dict[str, Any]) -> Recipe:
    """The recipe in a checkpoint.

    Raises:
        ValueError: It has a field that no recipe has.
    """
    known = {one.name for one in fields(Recipe)}
    if unknown := sorted(set(table) - known):
        raise ValueError(f"no recipe has a {unknown[0]!r}: the file was made by another version")
    return replace(Recipe(), **table)
