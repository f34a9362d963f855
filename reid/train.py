"""Train an embedder: ``python -m reid train --recipe NAME --data DIR --out DIR``.

Identity cross-entropy and a metric loss pull the same vector, the unit row after the neck, since it is what will be
compared. The classifier tells people of one site apart only: between sites it would learn to tell the cameras. The
schedule follows the steps; a checkpoint holds all state and all chance, so that an interrupted run ends with the very
weights of one that was not.
"""

import copy
import ctypes
import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from reid import datasets, losses, mining
from reid.augment import augment, varied
from reid.datasets import Pictures
from reid.efficientnet import EfficientNetLite, imagenet_file, start_from_imagenet
from reid.evaluate import retrieval_scores
from reid.model import SCALE, ReidNet, build, normalise
from reid.recipe import Recipe, check, from_table
from reid.sampling import IdentitySampler

LOG = logging.getLogger(__name__)
LOOK_ALIKES = 20  # others that each person may be drawn with
REFRESH = 500  # steps after which look-alikes are sought anew


class Average:
    """A slow copy of a network: each weight follows the trained one, so that noise of the last steps averages out."""

    def __init__(self, network: ReidNet, share: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.share = share
        self.steps = 0

    @torch.no_grad()
    def follow(self, network: ReidNet) -> None:
        """Move the share of the way to ``network``; more in the beginning."""
        self.steps += 1
        share = max(self.share, 1.0 / self.steps)
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


def cosine_logits(rows: Tensor, prototypes: Tensor, scale: float) -> Tensor:
    """(N, C) scaled cosine between unit ``rows`` (N, D) and ``prototypes`` (C, D) of any length.

    Trained this way, the classifier asks of the embedding exactly what retrieval by cosine will use (Wojke &
    Bewley, "Deep cosine metric learning", WACV 2018).
    """
    return scale * rows @ F.normalize(prototypes, dim=1).T


def metric_loss(recipe: Recipe, progress: float, rng: torch.Generator) -> nn.Module | None:
    """The loss over pairs, triplets or quadruplets that counts at this share of the run; None before it does."""
    if recipe.loss == "none" or progress < recipe.easy:
        return None
    margin = recipe.margin
    if recipe.loss == "adaptive":
        return losses.AdaptiveTripletLoss(margin=margin)
    if recipe.loss == "circle":
        return losses.CircleLoss()
    miner = triplet_miner(recipe.miner, progress, rng)
    match recipe.loss:
        case "contrastive":
            return losses.ContrastiveLoss(margin=margin, miner=mining.pairs_of(miner))
        case "triplet":
            return losses.TripletLoss(margin=margin, miner=miner)
        case "soft-triplet":
            return losses.TripletLoss(margin="soft", miner=miner)
        case "quadruplet":
            return losses.QuadrupletLoss(miner=mining.quadruplets_of(miner))
        case _:
            raise ValueError(f"no loss is called {recipe.loss!r}")


def triplet_miner(name: str, progress: float, rng: torch.Generator) -> mining.TripletMiner:
    """A miner by its name; ``easy-to-hard`` changes with the share of the run."""
    match name:
        case "random":
            return mining.RandomTriplets(rng)
        case "semi-hard":
            return mining.semi_hard
        case "batch-hard":
            return mining.batch_hard
        case "easy-to-hard":
            stages = ((0.0, mining.RandomTriplets(rng)), (0.2, mining.semi_hard), (0.4, mining.batch_hard))
            return mining.Schedule[mining.TripletMiner](stages).at(progress)
        case _:
            raise ValueError(f"no miner is called {name!r}")


class Training:
    """One run: network, classifier, optimiser, chance; everything that a checkpoint holds.

    Args:
        recipe: Checked by `reid.recipe.check`.
        data: N pictures of people 0 to C - 1.
        sites: (N,) which set each picture is of.
        device: Where the network lives; pictures are augmented there.
    """

    def __init__(
        self, recipe: Recipe, data: Pictures, sites: NDArray[np.int64], *, device: str = "cpu"
    ) -> None:
        check(recipe)
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.device = recipe, data, torch.device(device)
        self.network = build(recipe.network, dim=recipe.dim, pool=recipe.pool)
        if recipe.start == "imagenet":
            assert isinstance(self.network.encoder, EfficientNetLite)
            start_from_imagenet(self.network.encoder, imagenet_file(), scale=SCALE)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        people = int(data.ids.max()) + 1
        self.prototypes = nn.Parameter(0.1 * torch.randn(people, self.network.dim).to(self.device))
        self.average = Average(self.network, recipe.average)
        self.optimiser = torch.optim.AdamW(self._groups(), lr=recipe.learning_rate)
        self.rng = torch.Generator().manual_seed(recipe.seed)
        self.numpy_rng = np.random.default_rng(recipe.seed)
        self.sampler = IdentitySampler(
            data.ids,
            sites,
            people=recipe.people,
            pictures=recipe.pictures,
            cameras=data.cameras,
            site_shares=dict(enumerate(recipe.weights)),
            rng=self.numpy_rng,
        )
        site_of = np.zeros(people, np.int64)
        site_of[data.ids] = sites
        self.site_of = torch.from_numpy(site_of).to(self.device)
        self.identity_loss = losses.IdentityLoss(smoothing=recipe.smoothing)
        self.augmentation = varied(recipe.variety)
        self.alike: NDArray[np.int64] | None = None
        self.steps = 0

    def _groups(self) -> list[dict[str, Any]]:
        """The optimiser's groups: encoder or not, decayed (matrices) or not (norms, biases, exponents)."""
        decay, slow = self.recipe.weight_decay, self.recipe.encoder_rate
        encoder = [p for p in self.network.encoder.parameters() if p.requires_grad]
        known = {id(p) for p in encoder}
        rest = [p for p in self.network.parameters() if p.requires_grad and id(p) not in known]
        rest.append(self.prototypes)
        return [
            {
                "params": [p for p in part if (p.ndim >= 2) is decayed],
                "weight_decay": decay * decayed,
                "factor": rate,
            }
            for part, rate in ((encoder, slow), (rest, 1.0))
            for decayed in (True, False)
        ]

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return self.steps / self.recipe.steps

    def step(self) -> dict[str, float]:
        """One batch; answers its losses and the share of rows whose person the classifier named.

        Raises:
            ValueError: The loss is no number: training has diverged.
        """
        recipe, progress = self.recipe, self.progress
        for group in self.optimiser.param_groups:
            factor = learning_rate_factor(progress, recipe.warm_up)
            group["lr"] = recipe.learning_rate * group["factor"] * factor
        pictures, labels = self._batch(progress)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type != "cpu"):
            rows = self.network(normalise(pictures))
        rows = F.normalize(rows.float(), dim=1)
        logits = cosine_logits(rows, self.prototypes, recipe.scale)
        loss = rows.new_zeros(())
        said = {"named": (logits.detach().argmax(1) == labels).float().mean()}
        if recipe.identity > 0.0:
            allowed = self.site_of[labels].unsqueeze(1) == self.site_of.unsqueeze(0)
            said["identity"] = self.identity_loss(logits, labels, allowed)
            loss = loss + recipe.identity * said["identity"]
        if (criterion := metric_loss(recipe, progress, self.rng)) is not None:
            said[recipe.loss] = criterion(rows, labels)
            loss = loss + recipe.loss_weight * said[recipe.loss]
        if not bool(torch.isfinite(loss)):
            raise ValueError(
                f"training diverged at step {self.steps}: give a lower --learning-rate; the last checkpoint stands"
            )
        self.optimiser.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimiser.step()
        self.average.follow(self.network)
        self.steps += 1
        return {name: float(value.detach()) for name, value in said.items()}

    def _batch(self, progress: float) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) augmented pictures and their people."""
        recipe = self.recipe
        chosen = self._rows(progress)
        pictures = torch.from_numpy(np.ascontiguousarray(self.data.crops[chosen])).to(self.device)
        labels = torch.from_numpy(self.data.ids[chosen]).to(self.device)
        size = (recipe.height, recipe.width)
        if progress < recipe.small_until:
            size = (recipe.height * 3 // 4, recipe.width * 3 // 4)
        with torch.no_grad():
            planes = pictures.permute(0, 3, 1, 2).float()
            planes = augment(planes, self.rng, size, self.augmentation)
            return planes.contiguous(memory_format=torch.channels_last), labels

    def _rows(self, progress: float) -> NDArray[np.int64]:
        if progress < self.recipe.mine_from or self.steps % 2:
            return self.sampler.batch()
        if self.alike is None or self.steps % REFRESH == 0:
            prototypes = self.prototypes.detach().float().cpu()
            self.alike = mining.look_alikes(prototypes, LOOK_ALIKES, self.site_of.cpu()).numpy()
        return self.sampler.batch(self.alike)

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "recipe": asdict(self.recipe),
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "average_steps": self.average.steps,
            "prototypes": self.prototypes.detach(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "rng": self.rng.get_state(),
            "numpy_rng": self.numpy_rng.bit_generator.state,
            "alike": None if self.alike is None else torch.from_numpy(self.alike),
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe and data; with more steps than before it goes on for longer.

        Raises:
            ValueError: The checkpoint is of another recipe or other people, or is none.
        """
        state = read_checkpoint(path)
        made_by = from_table(state["recipe"])
        if replace(made_by, steps=self.recipe.steps) != self.recipe or state["steps"] > self.recipe.steps:
            raise ValueError(f"{path} was made with another recipe: give its options, or another --out")
        if state["prototypes"].shape != self.prototypes.shape:
            raise ValueError(
                f"{path} knows {len(state['prototypes'])} people, not {len(self.prototypes)}: the data differ"
            )
        try:
            self._take(state)
        except (KeyError, RuntimeError, TypeError, AttributeError) as problem:
            reason = " ".join(str(problem).split())[:200]
            raise ValueError(f"{path} is not of this trainer's version: {reason}") from problem

    def _take(self, state: Mapping[str, Any]) -> None:
        """Put all that `save` wrote in its place."""
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        with torch.no_grad():
            self.prototypes.copy_(state["prototypes"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = state["steps"]
        self.rng.set_state(state["rng"].cpu())
        self.numpy_rng.bit_generator.state = state["numpy_rng"]
        self.alike = None if state["alike"] is None else state["alike"].cpu().numpy()


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
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise ValueError(f"{path} cannot be read as a checkpoint: {reason}") from problem
    if not isinstance(state, dict) or not {"recipe", "network", "average"} <= set(state):
        raise ValueError(f"{path} is no checkpoint of this trainer")
    return state


@torch.inference_mode()
def embed_all(network: ReidNet, crops: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """(N, D) unit rows of (N, h, w, 3) BGR pictures, shown at ``size`` (height, width)."""
    device = next(network.parameters()).device
    rows = []
    for start in range(0, len(crops), 64):
        batch = torch.from_numpy(np.array(crops[start : start + 64])).to(
            device
        )  # a copy: crops may be read-only
        planes = batch.permute(0, 3, 1, 2).float()
        if planes.shape[2:] != size:
            planes = F.interpolate(planes, size=size, mode="bilinear", antialias=True)
        rows.append(F.normalize(network(normalise(planes)), dim=1).cpu().numpy())
    return np.concatenate(rows)


def load_sets(recipe: Recipe, data: Path, cache: Path | None) -> tuple[list[Pictures], list[Pictures]]:
    """The recipe's sets without, and only, the people that it holds out, drawn by its seed.

    A set is one of `datasets.PARTS`, or a folder or zip that `datasets.read` understands, here or in ``data``.

    Raises:
        FileNotFoundError: A set is not there.
        ValueError: A set is for measuring only, or cannot be read.
    """
    kept, held = [], []
    for name, people in zip(recipe.sets, recipe.hold_out, strict=True):
        if name in datasets.TESTS_ONLY:
            raise ValueError(
                f"{name} is for measuring: what was trained on it could no longer be measured with it"
            )
        pictures = (
            datasets.load(data, name, cache)
            if name in datasets.PARTS
            else datasets.read(datasets.find(name, data), cache=cache)
        )
        if people:
            pictures, apart = datasets.hold_out(pictures, people, np.random.default_rng(recipe.seed))
            held.append(apart)
        kept.append(pictures)
    return kept, held


def validate(training: Training, held: list[Pictures]) -> str:
    """Rank-1 and mAP among the held-out people of each set, each picture in turn asking all others."""
    size = (training.recipe.height, training.recipe.width)
    said = []
    for pictures in held:
        rows = embed_all(training.average.network, pictures.crops, size)
        scores = retrieval_scores(
            1.0 - rows @ rows.T, pictures.ids, pictures.cameras, pictures.ids, pictures.cameras
        )
        said.append(f"{scores.rank(1):.1%} {scores.mean_ap:.1%}")
    return "held-out rank-1, mAP: " + "; ".join(said)


def keep_memory() -> None:
    """Ask glibc to keep freed memory instead of giving it back: feature maps come and go by the hundred megabytes.

    Measured on two cores: 2 to 3 times as many pictures a second. Elsewhere than on glibc, nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # <malloc.h>
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


def run(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    device: str = "cpu",
    cache: Path | None = None,
    save_every_s: float = 180.0,
    stop_after_s: float = math.inf,
) -> Path:
    """Train from the start, or from ``out/checkpoint.pt``, to the end; answers the checkpoint's path.

    ``stop_after_s`` ends the call early, with a checkpoint: the next call goes on, to the same result.

    Raises:
        FileNotFoundError: A data set is not there.
        ValueError: The recipe cannot be, or the checkpoint is of another one.
    """
    keep_memory()
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    kept, held = load_sets(recipe, data, cache)
    training = Training(recipe, *datasets.join(kept), device=device)
    if checkpoint.exists():
        training.restore(checkpoint)
    LOG.info("%d pictures of %d people", len(training.data), len(training.prototypes))
    training.network.train()
    began = saved = time.monotonic()
    sums: dict[str, float] = {}
    with tqdm(total=recipe.steps, initial=training.steps, unit="batch", mininterval=5.0) as line:
        while training.steps < recipe.steps:
            for name, value in training.step().items():
                sums[name] = 0.98 * sums.get(name, value) + 0.02 * value
            line.set_postfix({name: f"{value:.3f}" for name, value in sums.items()}, refresh=False)
            line.update()
            now = time.monotonic()
            is_over = training.steps == recipe.steps or now - began > stop_after_s
            if is_over or now - saved > save_every_s:
                training.save(checkpoint)
                saved = now
                if held:
                    tqdm.write(f"step {training.steps}: {validate(training, held)}", file=sys.stderr)
            if is_over:
                break
    return checkpoint
