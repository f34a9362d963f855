"""Fine-tune a trained network on unlabelled footage: ``python -m flow adapt --footage FILE... --out DIR``.

The network learns from its own pictures what `flow.unsupervised` asks, and from what it was before what to say where a
point is hidden and how far to trust itself. Norms keep the statistics they were trained with. A part of the footage's
pairs is kept out to judge by; where the distance there did not fall, the network is given back as it was.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flow.footage import Footage, read_footage
from flow.losses import at_size
from flow.train import follow, load_network, rate, read_checkpoint
from flow.unsupervised import Weights, as_grey, data_distance, leaves, unsupervised_loss

LOG = logging.getLogger(__name__)
WARM_UP = 0.1


@dataclass(frozen=True)
class Adapting:
    """How to adapt.

    Attributes:
        steps: Batches.
        batch: Pairs in each.
        judged: Pairs that are kept out, to judge by.
        learning_rate: Highest, after the warm-up.
        average: How far the averaged network, which is the result, moves to the trained one at each step.
        weights: Of the parts of the loss.
        seed: Of all chance.
    """

    steps: int = 300
    batch: int = 4
    judged: int = 32
    learning_rate: float = 1e-4
    average: float = 0.02
    weights: Weights = Weights()
    seed: int = 0


@dataclass(frozen=True)
class Report:
    """Mean distance between pictures on pairs kept out, before and after; lower is better."""

    before: float
    after: float

    @property
    def is_better(self) -> bool:
        """Whether adapting helped."""
        return self.after < self.before


def adapt(
    network: nn.Module,
    draw: Callable[[int], tuple[Tensor, Tensor]],
    adapting: Adapting,
    *,
    told: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[nn.Module, Report]:
    """Fine-tune a copy of a network.

    Args:
        network: As `flow.model.build` gives it; it is left as it is.
        draw: From a number N to so many pairs (N, C, H, W) in [0, 1], other ones at each call.
        adapting: How.
        told: Called after each step with its number and losses.

    Returns:
        The adapted network, or a copy of the old one where the new one is not better; and the two distances.

    Raises:
        ValueError: The loss is no number.
    """
    known = copy.deepcopy(network).eval().requires_grad_(False)
    trained = copy.deepcopy(known).requires_grad_(True)  # in eval mode: norms keep their statistics
    average = copy.deepcopy(known)
    judged = draw(adapting.judged)
    optimiser = torch.optim.AdamW(trained.parameters(), lr=adapting.learning_rate, weight_decay=0.0)
    for step in range(adapting.steps):
        for group in optimiser.param_groups:
            group["lr"] = adapting.learning_rate * rate(step / adapting.steps, WARM_UP)
        said = _step(trained, known, optimiser, draw(adapting.batch), adapting.weights)
        follow(average, trained, max(adapting.average, 1.0 / (step + 1)))
        if told is not None:
            told(step + 1, said)
    report = Report(_judge(known, judged, adapting), _judge(average, judged, adapting))
    return (average if report.is_better else known), report


def _step(
    trained: nn.Module,
    known: nn.Module,
    optimiser: torch.optim.Optimizer,
    pair: tuple[Tensor, Tensor],
    weights: Weights,
) -> dict[str, float]:
    first, second = torch.cat(pair), torch.cat(pair[::-1])
    with torch.no_grad():
        answers = known(first, second)
    said = unsupervised_loss(trained(first, second), *pair, known=answers, weights=weights)
    if not bool(torch.isfinite(said["loss"])):
        raise ValueError("adapting diverged: give a lower learning rate")
    optimiser.zero_grad(set_to_none=True)
    said["loss"].backward()
    nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
    optimiser.step()
    return {name: float(value.detach()) for name, value in said.items()}


@torch.no_grad()
def _judge(network: nn.Module, judged: tuple[Tensor, Tensor], adapting: Adapting) -> float:
    """Mean distance of the pixels that stay in the picture.

    Hidden ones count, too: whoever calls more pixels hidden must not look better by it.
    """
    distance = kept = 0.0
    for before, after in zip(*(part.split(adapting.batch) for part in judged)):
        flow = at_size(network(before, after).flows[-1].float(), before.shape[2:])
        stays = ~leaves(flow)
        distance += float((data_distance(before, after, flow, adapting.weights) * stays).sum())
        kept += float(stays.sum())
    return distance / max(kept, 1.0)


def drawer(
    footage: Footage, channels: int, rng: np.random.Generator
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Pairs of footage as `adapt` wants them."""

    def draw(count: int) -> tuple[Tensor, Tensor]:
        before, after = footage.draw(count, rng)
        return as_input(before, channels), as_input(after, channels)

    return draw


def as_input(pictures: NDArray[np.uint8], channels: int) -> Tensor:
    """(N, H, W, 3) BGR -> (N, C, H, W) in [0, 1], C 1 (grey) or 3."""
    maps = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255.0
    return as_grey(maps) if channels == 1 else maps


def adapt_checkpoint(
    start: Path,
    paths: Sequence[Path],
    out: Path,
    adapting: Adapting | None = None,
    *,
    size: tuple[int, int] | None = None,
    gaps: Sequence[int] = (1, 2, 5),
    told: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[Path, Report]:
    """Fine-tune a checkpoint of `flow.train` on footage; the result is one, too, to be exported like any other.

    Args:
        start: The checkpoint.
        paths: Videos, or folders of pictures.
        out: Folder for ``adapted.pt``.
        adapting: How; None: as usual.
        size: Height and width of the pictures, px; None: those the network was trained on.
        gaps: Frames from the first picture of a pair to the second.
        told: Called after each step with its number and losses.

    Raises:
        FileNotFoundError: A path is not there.
        ValueError: The checkpoint or the footage cannot be used, or the size does not fit the network.
    """
    adapting = adapting or Adapting()
    network, recipe = load_network(start)
    height, width = size or (recipe.height, recipe.picture_width)
    multiple = int(network.multiple)  # type: ignore[arg-type]  # torch types attributes as tensors
    if height % multiple or width % multiple:
        raise ValueError(f"{recipe.network} takes pictures whose sides are multiples of {multiple} px")
    footage = read_footage(paths, height, width, gaps=gaps)
    channels = int(network.channels)  # type: ignore[arg-type]  # torch types attributes as tensors
    draw = drawer(footage, channels, np.random.default_rng(adapting.seed))
    adapted, report = adapt(network, draw, adapting, told=told)
    state = read_checkpoint(start)
    out.mkdir(parents=True, exist_ok=True)
    written = out / "adapted.pt"
    kept = {name: state[name] for name in ("recipe", "steps", "spent_s") if name in state}
    weights = adapted.state_dict()
    torch.save(kept | {"network": weights, "average": weights}, written.with_suffix(".part"))
    written.with_suffix(".part").replace(written)
    return written, report
