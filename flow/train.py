"""Train a flow network: ``python -m flow train --network tiny --out DIR``.

Pairs are drawn as the training goes and mixed with packs of rendered ones. The learning rate follows the share of the
run that is done; what is kept is a slow average of the weights. A run of limited time ends in time: with ``minutes``
the share is the larger one of steps and time, so that it still ends with small steps.
"""

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flow.feed import Feed
from flow.losses import FLOWNET_WEIGHTS, flow_loss
from flow.model import build
from flow.recipe import RECIPES as RECIPES
from flow.recipe import Recipe, check, from_table

LOG = logging.getLogger(__name__)
SAVE_EVERY_S = 120.0
SMALL = 2.0 / 3.0  # of the sides, while pictures are small


class Training:
    """One run: network, its slow average, optimiser, pairs; all but the pairs is in a checkpoint.

    Args:
        recipe: Checked by `check`.
        packs: Folders of packs of pairs; may be none.
        device: Where the network lives.
    """

    def __init__(
        self, recipe: Recipe, packs: tuple[Path, ...] = (), *, device: str = "cpu", kept: int = 256
    ) -> None:
        check(recipe)
        torch.manual_seed(recipe.seed)
        self.recipe, self.packs, self.device, self.kept = recipe, packs, torch.device(device), kept
        self.network = build(recipe.network, width=recipe.width).to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        multiple = int(self.network.multiple)  # type: ignore[arg-type]  # torch types attributes as tensors
        if recipe.height % multiple or recipe.picture_width % multiple:
            raise ValueError(f"{recipe.network} takes pictures whose sides are multiples of {multiple} px")
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self._groups(), lr=recipe.learning_rate)
        self.steps, self.spent_s = 0, 0.0
        self._feed: Feed | None = None
        self._size = (0, 0)

    def _groups(self) -> list[dict[str, Any]]:
        decay = self.recipe.weight_decay
        weights = list(self.network.parameters())
        return [
            {"params": [p for p in weights if p.ndim >= 2], "weight_decay": decay},
            {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
        ]

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        minutes = self.recipe.minutes
        of_time = self.spent_s / (60.0 * minutes) if minutes else 0.0
        return min(max(self.steps / self.recipe.steps, of_time), 1.0)

    def step(self) -> dict[str, float]:
        """One batch; answers its losses.

        Raises:
            ValueError: The loss is no number: training has diverged.
        """
        begun = time.monotonic()
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate(self.progress, recipe.warm_up)
        feed = self._fed()
        channels = int(self.network.channels)  # type: ignore[arg-type]
        batch = feed.batch(recipe.batch, channels)
        before, after, truth, weight = (part.to(self.device) for part in batch)
        half = self.device.type != "cpu"  # a processor gains nothing from it
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            predictions = self.network(_last(before), _last(after))
        weights = FLOWNET_WEIGHTS if recipe.network.startswith("flownet") else None
        said = flow_loss(predictions, truth, weight, weights=weights)
        if not bool(torch.isfinite(said["loss"])):
            raise ValueError(f"training diverged at step {self.steps}: give a lower --learning-rate")
        self.optimiser.zero_grad(set_to_none=True)
        said["loss"].backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        follow(self.average, self.network, max(recipe.average, 1.0 / (self.steps + 1)))
        self.steps += 1
        self.spent_s += time.monotonic() - begun
        return {name: float(value.detach()) for name, value in said.items()}

    def _fed(self) -> Feed:
        """Pairs of the size that this share of the run is trained on."""
        recipe, multiple = self.recipe, int(self.network.multiple)  # type: ignore[arg-type]
        size = recipe.height, recipe.picture_width
        if self.progress < recipe.small_until:
            height, width = (max(round(side * SMALL / multiple), 1) * multiple for side in size)
            size = height, width
        if self._feed is None or size != self._size:
            # A resumed run goes on with other pairs than it would have seen, never with the first ones again.
            self._size = size
            self._feed = Feed(
                *size,
                np.random.default_rng((recipe.seed, self.steps)),
                packs=self.packs,
                pack_share=recipe.pack_share,
                kept=max(self.kept, recipe.batch),
                shown=recipe.shown,
            )
        return self._feed

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "recipe": asdict(self.recipe),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "spent_s": self.spent_s,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint; a recipe of more steps, minutes or other pairs goes on with the same network.

        Raises:
            ValueError: The checkpoint is of another network, or is none.
        """
        state = read_checkpoint(path)
        made_by = from_table(state["recipe"])
        if (made_by.network, made_by.width) != (self.recipe.network, self.recipe.width):
            kinds = [f"{one.network} of width {one.width:g}" for one in (made_by, self.recipe)]
            raise ValueError(f"{path} is of {kinds[0]}, not of {kinds[1]}: give another --out")
        if missing := sorted({"optimiser", "steps", "spent_s"} - set(state)):
            raise ValueError(f"{path} holds no {missing[0]} to go on with: begin with it as --start")
        _put(state["network"], self.network, path, self.recipe.network)
        _put(state["average"], self.average, path, self.recipe.network)
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.spent_s = state["steps"], state["spent_s"]


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, share: float) -> None:
    """Move every weight and statistic of ``slow`` the share of the way to that of ``fast``; counters are copied."""
    for mine, other in zip(slow.state_dict().values(), fast.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(other, share)
        else:
            mine.copy_(other)


def rate(progress: float, warm_up: float) -> float:
    """Rises from 0 to 1 while ``progress`` < ``warm_up``, then falls along a cosine to 0.01 at 1."""
    if progress < warm_up:
        return max(progress / warm_up, 1e-3)
    return 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min((progress - warm_up) / (1.0 - warm_up), 1.0)))


def _last(pictures: Tensor) -> Tensor:
    return pictures.contiguous(memory_format=torch.channels_last)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `Training.save` wrote, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a checkpoint, or it is cut off.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as problem:  # noqa: BLE001  (torch raises a dozen kinds for bytes that are no checkpoint)
        raise ValueError(f"{path} cannot be read as a checkpoint: {type(problem).__name__}") from problem
    if not isinstance(state, dict) or not {"recipe", "network", "average"} <= set(state):
        raise ValueError(f"{path} is no checkpoint of this trainer")
    return state


def _put(weights: dict[str, Tensor], network: nn.Module, path: Path, name: str) -> None:
    """Weights of a checkpoint into a network.

    Raises:
        ValueError: They are of another one.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ValueError(f"{path} does not hold the weights of {name}: {reason}") from problem


def load_network(path: Path) -> tuple[nn.Module, Recipe]:
    """The averaged network of a checkpoint, ready to run, and the recipe that made it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, or of another network than it says.
    """
    state = read_checkpoint(path)
    recipe = from_table(state["recipe"])
    network = build(recipe.network, width=recipe.width)
    _put(state["average"], network, path, recipe.network)
    return network.eval(), recipe


def train(
    recipe: Recipe,
    out: Path,
    *,
    packs: tuple[Path, ...] = (),
    device: str = "cpu",
    start: Path | None = None,
    told: Callable[[int, float, dict[str, float]], None] | None = None,
) -> Path:
    """Train, or go on where ``out`` stopped.

    Args:
        recipe: What to train and how.
        out: Folder for ``last.pt``, written every two minutes and at the end.
        packs: Folders of packs of pairs.
        device: ``cpu`` or ``cuda``.
        start: A checkpoint whose weights to begin with, where ``out`` holds none.
        told: Called after every step with its number, the progress and smoothed losses.

    Returns:
        The checkpoint.

    Raises:
        FileNotFoundError: There is no ``start``.
        ValueError: A checkpoint cannot be used, the recipe cannot be, or training has diverged.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "last.pt"
    training = Training(recipe, packs, device=device)
    if checkpoint.exists():
        training.restore(checkpoint)
    elif start is not None:
        _put(read_checkpoint(start)["average"], training.network, start, recipe.network)
        training.average.load_state_dict(training.network.state_dict())
    saved, smooth = time.monotonic(), dict[str, float]()
    while training.progress < 1.0:
        for name, value in training.step().items():
            smooth[name] = value + 0.99 * (smooth.get(name, value) - value)
        if told is not None:
            told(training.steps, training.progress, smooth)
        if time.monotonic() - saved > SAVE_EVERY_S:
            training.save(checkpoint)
            saved = time.monotonic()
    training.save(checkpoint)
    return checkpoint
