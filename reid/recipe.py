"""All that shapes a training run besides the data; stored in every checkpoint and on the card of what it made.

No torch here: the command line reads its options, defaults and help from these fields.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

LOSSES = ("none", "contrastive", "triplet", "soft-triplet", "adaptive", "quadruplet", "circle")
MINERS = ("random", "semi-hard", "batch-hard", "easy-to-hard")


def _said(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Recipe:
    """One run. Shares of the run are of its steps, from 0 to 1."""

    network: str = _said("lite", "variant of reid.model")
    pool: str = _said("body", "average, maximum, gem, gem3 or body")
    dim: int = _said(256, "numbers in an embedding")
    start: str = _said("imagenet", "first weights of the encoder: imagenet (lite networks) or chance")
    sets: tuple[str, ...] = _said(
        ("market1501_train", "cuhk03", "cuhk01"), "data sets to train on, or paths of folders and zips"
    )
    weights: tuple[float, ...] = _said((0.56, 0.26, 0.18), "share of each set among the people of a batch")
    hold_out: tuple[int, ...] = _said(
        (100, 40, 40), "people of each set kept out, to judge and calibrate with"
    )
    height: int = _said(128, "pixels of the network's input")
    width: int = _said(64, "pixels of the network's input")
    variety: float = _said(1.0, "of light, focus and noise, against the usual; less for one known site")
    small_until: float = _said(0.6, "share of the run with pictures of 3/4 that size, at half the cost")
    steps: int = _said(16000, "batches in the whole run")
    people: int = _said(16, "people in a batch")
    pictures: int = _said(4, "pictures of each of them")
    learning_rate: float = _said(2e-3, "AdamW, at the top of the schedule")
    encoder_rate: float = _said(0.5, "the encoder's learning rate relative to the rest")
    weight_decay: float = _said(0.02, "AdamW")
    warm_up: float = _said(0.04, "share of the run in which the learning rate rises")
    identity: float = _said(1.0, "weight of the identity cross-entropy; 0: none")
    smoothing: float = _said(0.1, "label smoothing of the identity cross-entropy")
    scale: float = _said(20.0, "the cosine between row and class is multiplied by this")
    loss: str = _said("triplet", f"what pulls and pushes pairs: {', '.join(LOSSES)}")
    loss_weight: float = _said(1.0, "weight of that loss")
    margin: float = _said(
        0.3, "in Euclidean distance of unit rows (contrastive: squared); quadruplets find theirs"
    )
    miner: str = _said("batch-hard", f"which tuples count: {', '.join(MINERS)}")
    easy: float = _said(0.08, "share of the run before that loss counts")
    mine_from: float = _said(0.3, "share of the run after which half of the batches hold look-alikes")
    average: float = _said(1e-3, "how far the averaged network moves to the trained one at each step")
    seed: int = _said(0, "of all chance")


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "research": Recipe(),
        "market": Recipe(
            network="lite_small_fine",
            sets=("market1501_train",),
            weights=(1.0,),
            hold_out=(0,),
            variety=0.3,
            small_until=0.5,
            steps=8500,
        ),
        "without_market": Recipe(
            sets=("cuhk03", "cuhk01"), weights=(0.55, 0.45), hold_out=(0, 0), steps=3800
        ),
        # Of `python -m scenes crops -o rendered.zip`: no real picture, and no first weights made from any. OSNet with
        # instance norms starts well by chance, and what it learns holds better where pictures look otherwise.
        "rendered": Recipe(
            network="osnet_x0_25_ain",
            start="chance",
            sets=("rendered.zip",),
            weights=(1.0,),
            hold_out=(100,),
            learning_rate=1.5e-3,
            encoder_rate=1.0,
            warm_up=0.08,
            steps=12000,
        ),
        "rendered_and_real": Recipe(
            sets=("rendered.zip", "cuhk03", "cuhk01"),
            weights=(0.3, 0.4, 0.3),
            hold_out=(0, 0, 0),
            steps=5400,
        ),
        # For an accelerator: 2.48 M parameters, OSNet's published size of picture, and long enough to settle.
        "market_accelerator": Recipe(
            network="lite_large",
            pool="gem3",
            dim=128,
            sets=("market1501_train",),
            weights=(1.0,),
            hold_out=(0,),
            height=256,
            width=128,
            variety=0.3,
            small_until=0.3,
            steps=30000,
            people=32,
        ),
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option for each field of `Recipe`, and ``--recipe`` for the one to start from."""
    parser.add_argument(
        "--recipe", choices=tuple(RECIPES), default="research", help="what the options change"
    )
    for one in fields(Recipe):
        default: Any = one.default
        several = isinstance(default, tuple)
        kind = type(default[0] if several else default)
        parser.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=kind,
            nargs="+" if several else None,
            help=one.metadata["help"],
        )


def from_options(options: argparse.Namespace) -> Recipe:
    """The recipe that the command line asks for.

    Raises:
        ValueError: The fields do not fit together.
    """
    said = {one.name: getattr(options, one.name) for one in fields(Recipe)}
    changed: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in said.items()
        if value is not None
    }
    recipe = replace(RECIPES[options.recipe], **changed)
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """Say what in a recipe cannot be.

    Raises:
        ValueError: One sentence with the first thing found.
    """
    if not len(recipe.sets) == len(recipe.weights) == len(recipe.hold_out):
        raise ValueError(
            f"each of the {len(recipe.sets)} sets needs a weight and a number of people to hold out: "
            f"{len(recipe.weights)} weights, {len(recipe.hold_out)} numbers"
        )
    if min(recipe.hold_out) < 0 or not all(weight > 0.0 for weight in recipe.weights):
        raise ValueError("weights of sets are above 0, and numbers of people to hold out at least 0")
    if not (recipe.learning_rate > 0.0 and 0.0 <= recipe.warm_up < 1.0 and 0.0 < recipe.average <= 1.0):
        raise ValueError("a run needs a learning rate above 0, a warm-up in [0, 1) and an average in (0, 1]")
    if recipe.loss not in LOSSES:
        raise ValueError(f"no loss is called {recipe.loss!r}: {', '.join(LOSSES)}")
    if recipe.miner not in MINERS:
        raise ValueError(f"no miner is called {recipe.miner!r}: {', '.join(MINERS)}")
    if recipe.loss == "none" and recipe.identity <= 0.0:
        raise ValueError("a run without an identity loss and without another loss learns nothing")
    if recipe.start not in ("imagenet", "chance"):
        raise ValueError(f"a run starts from imagenet or chance, not from {recipe.start!r}")
    if recipe.start == "imagenet" and not recipe.network.startswith("lite"):
        raise ValueError(f"there are no first weights for {recipe.network}: give --start chance")
    if recipe.people < 2 or recipe.pictures < 2:
        raise ValueError("a batch needs at least 2 people with 2 pictures each")
    if not 0.0 <= recipe.variety <= 1.0:
        raise ValueError(f"variety is a share of the usual, between 0 and 1, not {recipe.variety}")
    if recipe.steps < 1 or min(recipe.height, recipe.width) < 32:
        raise ValueError("a run needs at least 1 step, and pictures of at least 32 pixels")


def from_table(table: Mapping[str, Any]) -> Recipe:
    """The recipe in a checkpoint or on a card.

    Raises:
        ValueError: It has a field that no recipe has, or lacks the network.
    """
    known = {one.name for one in fields(Recipe)}
    if unknown := sorted(set(table) - known):
        raise ValueError(f"no recipe has a {unknown[0]!r}: the file was made by another version")
    if "network" not in table:
        raise ValueError("the recipe names no network")
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}
    return Recipe(**values)
