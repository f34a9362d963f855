"""Train an embedder from scratch: ``python -m reid.train --data DIR --out DIR``.

Identity cross-entropy and batch-hard triplets pull the same vector, the unit row after the neck, since it is what
will be compared. (Before the neck all rows share one large component: their unit rows lie so close together that no
triplet reaches its margin.) The schedule follows the time spent, not a number of steps, so that a run of
``--minutes`` ends with its learning rate at zero on any machine, and one that was interrupted goes on where its last
checkpoint stood.
"""

import argparse
import copy
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from reid import datasets
from reid.augment import augment
from reid.datasets import Pictures
from reid.evaluate import retrieval_scores
from reid.losses import EUCLIDEAN, IdentityLoss, TripletLoss
from reid.mining import look_alikes
from reid.model import VARIANTS, ReidNet, normalise
from reid.sampling import IdentitySampler

LOG = logging.getLogger(__name__)
TRAINING_SETS = ("market1501_train", "cuhk03", "cuhk01")


@dataclass(frozen=True)
class Recipe:
    """All that shapes a run besides the data; stored in every checkpoint."""

    network: str = "reid_small"
    minutes: float = 60.0  # time in training steps until the learning rate is zero
    persons: int = 16  # per batch
    pictures: int = 4  # per person
    learning_rate: float = 2e-3  # AdamW, at the top of the schedule
    weight_decay: float = 0.05
    warm_up: float = 0.03  # share of the time in which the learning rate rises
    easy: float = 0.08  # share of the time before triplets count
    triplet_margin: float = 0.3  # Euclidean distance between unit rows
    triplet_weight: float = 1.0
    small_until: float = 0.45  # share of the time with pictures of 96x48, at half the cost of 128x64
    mine_from: float = 0.3  # share of the time after which half of the batches hold look-alikes
    # Of the people in a batch, in the order of TRAINING_SETS.
    site_shares: tuple[float, ...] = (0.62, 0.23, 0.15)
    hold_out: int = 100  # Market-1501 people kept for validation
    seed: int = 0


class Average:
    """A slow copy of a network: each weight follows the trained one, so that noise of the last steps averages out."""

    def __init__(self, network: ReidNet) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.steps = 0

    @torch.no_grad()
    def follow(self, network: ReidNet) -> None:
        """Move a thousandth of the way to ``network``; more in the beginning."""
        self.steps += 1
        share = max(1e-3, 1.0 / self.steps)
        for slow, fast in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, share)
            else:
                slow.copy_(fast)


def learning_rate_factor(progress: float, warm_up: float) -> float:
    """Rises from 0 to 1 while ``progress`` < ``warm_up``, then falls along a cosine to 0 at 1 and stays there."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * min((progress - warm_up) / (1.0 - warm_up), 1.0))


def cosine_logits(rows: Tensor, prototypes: Tensor, scale: float = 20.0) -> Tensor:
    """(N, C) scaled cosine between unit ``rows`` (N, D) and ``prototypes`` (C, D) of any length.

    Trained this way, the classifier asks of the embedding exactly what retrieval by cosine will use (Wojke &
    Bewley, "Deep cosine metric learning", WACV 2018).
    """
    return scale * rows @ F.normalize(prototypes, dim=1).T


class Training:
    """One run: network, classifier, optimiser, time spent; everything that a checkpoint holds."""

    def __init__(self, recipe: Recipe, data: Pictures, sites: NDArray[np.int64]) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.data = data
        self.labels = data.ids
        self.network = VARIANTS[recipe.network]()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.prototypes = nn.Parameter(0.1 * torch.randn(int(self.labels.max()) + 1, self.network.dim))
        self.average = Average(self.network)
        plain = [p for p in self.network.parameters() if p.ndim < 2 and p.requires_grad]
        decayed = [p for p in self.network.parameters() if p.ndim >= 2]
        groups = [
            {"params": plain, "weight_decay": 0.0},
            {"params": [*decayed, self.prototypes], "weight_decay": recipe.weight_decay},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        self.rng = torch.Generator().manual_seed(recipe.seed)
        self.numpy_rng = np.random.default_rng(recipe.seed)
        self.sampler = IdentitySampler(
            self.labels,
            sites,
            people=recipe.persons,
            pictures=recipe.pictures,
            site_shares=dict(enumerate(recipe.site_shares)),
            rng=self.numpy_rng,
        )
        self.identity_loss = IdentityLoss(smoothing=0.1)
        self.triplet_loss = TripletLoss(margin=recipe.triplet_margin, distance=EUCLIDEAN)
        self.alike: NDArray[np.int64] | None = None
        self.seconds = 0.0
        self.steps = 0

    @property
    def progress(self) -> float:
        """Share of the run's time that is spent, 0 to 1."""
        return min(self.seconds / (60.0 * self.recipe.minutes), 1.0)

    def step(self) -> dict[str, float]:
        """One batch; answers its losses and the share of rows whose person the classifier named."""
        recipe, progress = self.recipe, self.progress
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_factor(progress, recipe.warm_up)
        rows = self._rows(progress)
        pictures = torch.from_numpy(self.data.crops[rows]).permute(0, 3, 1, 2).float()
        labels = torch.from_numpy(self.labels[rows])
        with torch.no_grad():
            size = (96, 48) if progress < recipe.small_until else (128, 64)
            pictures = augment(pictures, self.rng, size).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = self.network(normalise(pictures))
        embeddings = F.normalize(embeddings.float(), dim=1)
        logits = cosine_logits(embeddings, self.prototypes)
        identity = self.identity_loss(logits, labels)
        triplet = self.triplet_loss(embeddings, labels)
        weight = recipe.triplet_weight * min(max(progress / recipe.easy - 1.0, 0.0), 1.0)
        loss = identity + weight * triplet
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.average.follow(self.network)
        self.steps += 1
        named = (logits.detach().argmax(1) == labels).float().mean()
        return {"identity": identity.item(), "triplet": triplet.item(), "named": named.item()}

    def _rows(self, progress: float) -> NDArray[np.int64]:
        if progress < self.recipe.mine_from or self.steps % 2:
            return self.sampler.batch()
        if self.alike is None or self.steps % 500 == 0:
            self.alike = look_alikes(self.prototypes.detach(), 20).numpy()
        return self.sampler.batch(self.alike)

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "recipe": vars(self.recipe),
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "average_steps": self.average.steps,
            "prototypes": self.prototypes.detach(),
            "optimiser": self.optimiser.state_dict(),
            "seconds": self.seconds,
            "steps": self.steps,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe and data; chance starts anew from the number of steps."""
        state = torch.load(path, weights_only=True)
        if state["recipe"] != vars(self.recipe):
            raise ValueError(f"{path}: was made with another recipe {state['recipe']}; choose another --out")
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        with torch.no_grad():
            self.prototypes.copy_(state["prototypes"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.seconds, self.steps = state["seconds"], state["steps"]
        self.rng.manual_seed(self.recipe.seed + self.steps)
        self.numpy_rng.bit_generator.state = np.random.PCG64(self.recipe.seed + self.steps).state


@torch.inference_mode()
def embed_all(network: ReidNet, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, D) unit rows of (N, 128, 64, 3) BGR pictures."""
    rows = []
    for start in range(0, len(pictures), 64):
        batch = torch.from_numpy(pictures[start : start + 64]).permute(0, 3, 1, 2).float()
        rows.append(F.normalize(network(normalise(batch))).numpy())
    return np.concatenate(rows)


def validate(network: ReidNet, held: Pictures) -> str:
    """Rank-1 and mAP among the held-out people, each picture in turn asking all others."""
    rows = embed_all(network, held.crops)
    scores = retrieval_scores(1.0 - rows @ rows.T, held.ids, held.cameras, held.ids, held.cameras)
    return f"held-out rank-1 {scores.rank(1):.1%} mAP {scores.mean_ap:.1%}"


def run(recipe: Recipe, data: Path, out: Path, *, save_every_s: float = 180.0) -> Path:
    """Train from nothing or from ``out/checkpoint.pt`` to the end; answers the checkpoint's path."""
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    sets = [datasets.load(data, name) for name in TRAINING_SETS]
    held: Pictures | None = None
    if recipe.hold_out:
        sets[0], held = datasets.hold_out(sets[0], recipe.hold_out, np.random.default_rng(recipe.seed))
    training = Training(recipe, *datasets.join(sets))
    if checkpoint.exists():
        training.restore(checkpoint)
    LOG.info(
        "%d pictures, %d people, from step %d", len(training.data), len(training.prototypes), training.steps
    )
    training.network.train()
    sums: dict[str, float] = {}
    last_save, count, log_start = training.seconds, 0, training.seconds
    while training.progress < 1.0:
        began = time.perf_counter()
        for name, value in training.step().items():
            sums[name] = sums.get(name, 0.0) + value
        training.seconds += time.perf_counter() - began
        count += 1
        if count == 200:
            line = " ".join(f"{name} {value / count:.3f}" for name, value in sums.items())
            rate = count * recipe.persons * recipe.pictures / (training.seconds - log_start)
            LOG.info(
                "%5.1f %% step %d %s, %.0f pictures/s", 100 * training.progress, training.steps, line, rate
            )
            sums, count, log_start = {}, 0, training.seconds
        if training.seconds - last_save > save_every_s or training.progress >= 1.0:
            training.save(checkpoint)
            last_save = training.seconds
            if held is not None:
                LOG.info("%s", validate(training.average.network, held))
    return checkpoint


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m reid.train", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with market1501/, cuhk03/ and cuhk01/"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the checkpoint; an old one is resumed"
    )
    parser.add_argument("--minutes", type=float, default=Recipe.minutes, help="time until the schedule ends")
    parser.add_argument("--hold-out", type=int, default=Recipe.hold_out, help="people kept for validation")
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every-s", type=float, default=180.0, help="seconds between two checkpoints")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    recipe = Recipe(
        minutes=options.minutes,
        hold_out=options.hold_out,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    run(recipe, options.data, options.out, save_every_s=options.save_every_s)


if __name__ == "__main__":
    main()
