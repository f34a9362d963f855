"""Train the box head: ``python -m flow train-box --packs DIR --out DIR``, with ``--export`` written as ONNX, too.

The checkpoint holds the averaged weights; the same recipe and the same packs give the same ones on as many threads.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from flow.boxcarry import SIDE
from flow.boxdata import Examples, Mixture, Pool, draw_examples
from flow.boxhead import BoxHead, box_loss, overlaps
from flow.packs import Pack, pack_folders
from flow.pairs import Drawer
from flow.train import follow, rate

LOG = logging.getLogger(__name__)

OPSET = 18
IR_VERSION = 8  # what ONNX Runtime has read since 1.12
PARITY = 1e-4  # shares of the crop, and of trust, that an export may differ by
POOL = 3000
FRESH = 0.5  # new examples to one that is learned from: the others were in the pool before
DRAWN_SIZE = 256, 384  # height, width of drawn pairs
HELD_OUT, MOST_HELD_OUT = 0.04, 200  # of the packs' pairs, to say how far it is
NOBODY = 2000  # pairs without people, one after another, after which there is nothing to learn from
REPORT = 250  # steps


@dataclass(frozen=True)
class BoxRecipe:
    """Everything that the weights depend on, but for the packs."""

    steps: int = 8000
    batch: int = 32  # in the same time of one core, overlaps of 0.80, 0.78 and 0.75 with 32, 48 and 96
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: float = 0.05  # share of the steps
    drawn: float = 0.35  # share of the pairs that are drawn on the fly; the others come from the packs
    average: float = 0.003  # share that the averaged weights move in a step
    seed: int = 0


def train(
    recipe: BoxRecipe,
    packs: Sequence[Path],
    out: Path,
    *,
    minutes: float = math.inf,
    pool: int = POOL,
    told: Callable[[int, float, Mapping[str, float]], None] | None = None,
) -> Path:
    """Train, and write ``out``/checkpoint.pt and ``out``/log.json, both now and then and at the end.

    Args:
        recipe: See there.
        packs: Folders of pairs (`flow.packs`), or folders that hold such folders; none: drawn pairs alone.
        out: A folder, made where it is missing.
        minutes: After these the schedule is at its end, whatever the recipe says of steps; a run cut so is not
            repeated exactly by another machine. They begin once the pool is full.
        pool: Examples in memory, 25 kB each; a batch at least.
        told: Called after every step with its number, the progress and the mean loss of the last steps.

    Raises:
        FileNotFoundError: A folder holds no pack.
        ValueError: The pairs show nobody, or the loss is no number.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    learned, held = split(list(opened(packs)), rng)
    judge, as_moved = np.random.default_rng(1), Mixture(drawn_motion=0, still_picture=0)
    test = [draw_examples(judge, pack[row], as_moved) for pack, row in held]
    kept = Pool(examples(learned, recipe, rng), max(pool, recipe.batch), rng)
    network = BoxHead()
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    began, said, losses, step = time.monotonic(), list[dict[str, float]](), list[float](), 0

    def report() -> None:
        said.append({"step": step, "loss": float(np.mean(losses[-REPORT:])), **score(average, test)})
        LOG.info("%s", said[-1])
        _save(out, recipe, average, said)

    while True:
        progress = min(max(step / recipe.steps, (time.monotonic() - began) / 60 / minutes), 1.0)
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate(progress, recipe.warm_up)
        losses.append(_step(network, optimiser, kept.batch(recipe.batch, fresh=round(FRESH * recipe.batch))))
        step += 1
        follow(average, network, max(recipe.average, 1 / step))
        if told is not None:
            told(step, progress, {"loss": float(np.mean(losses[-REPORT:]))})
        if step % REPORT == 0:
            report()
    if losses and step % REPORT:
        report()
    return _save(out, recipe, average, said)


def _save(out: Path, recipe: BoxRecipe, average: BoxHead, said: Sequence[Mapping[str, float]]) -> Path:
    """Write the checkpoint, whole or not at all, and what was said on the way."""
    checkpoint = out / "checkpoint.pt"
    part = checkpoint.with_suffix(".part")
    torch.save({"recipe": asdict(recipe), "weights": average.state_dict()}, part)
    part.replace(checkpoint)
    (out / "log.json").write_text(json.dumps(said, indent=1) + "\n")
    return checkpoint


def _step(network: BoxHead, optimiser: torch.optim.Optimizer, batch: Examples) -> float:
    network.train()
    boxes, trust = network(planes(batch.targets), planes(batch.searches))
    loss = box_loss(boxes, trust, torch.from_numpy(batch.truth), torch.from_numpy(batch.present))
    if not bool(torch.isfinite(loss)):
        raise ValueError("training diverged: give a lower --learning-rate")
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return loss.item()


def planes(pictures: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) floats in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255


def opened(folders: Sequence[Path]) -> Iterator[Pack]:
    """The packs of folders, in their order.

    Raises:
        FileNotFoundError: One of them holds none.
    """
    for folder in folders:
        found = pack_folders(folder)
        if not found:
            raise FileNotFoundError(
                f"{folder} holds no pairs: it needs an info.json, or folders that have one"
            )
        yield from (Pack(one) for one in found)


def split(
    packs: Sequence[Pack], rng: np.random.Generator
) -> tuple[list[tuple[Pack, int]], list[tuple[Pack, int]]]:
    """Which pairs to learn from, and which are held out, each as a pack and a number in it."""
    rows = [(pack, row) for pack in packs for row in range(len(pack))]
    count = min(math.ceil(HELD_OUT * len(rows)), MOST_HELD_OUT)
    order = rng.permutation(len(rows))
    held, learned = np.sort(order[:count]), np.sort(order[count:])
    return [rows[n] for n in learned], [rows[n] for n in held]


def examples(
    learned: Sequence[tuple[Pack, int]], recipe: BoxRecipe, rng: np.random.Generator
) -> Iterator[Examples]:
    """Examples without end, a pair's at a time.

    Raises:
        ValueError: Pair after pair shows nobody.
    """
    drawer = Drawer(rng, surveillance=0.85)
    nobody = 0
    while nobody < NOBODY:
        if learned and rng.random() >= recipe.drawn:
            pack, row = learned[int(rng.integers(len(learned)))]
            pair = pack[row]
        else:
            pair = drawer.draw(*DRAWN_SIZE)
        made = draw_examples(rng, pair, Mixture())
        nobody = 0 if len(made) else nobody + 1
        yield made
    raise ValueError(f"{nobody} pairs in a row show nobody: give packs with people")


@torch.no_grad()
def score(network: BoxHead, test: Sequence[Examples]) -> dict[str, float]:
    """Over examples that move as their pairs say: mean overlap, of standing still too, and error of the trust."""
    network.eval()
    overlap, still, off = [], [], []
    home = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    for some in test:
        if not some.present.any():
            continue
        boxes, trust = network(planes(some.targets), planes(some.searches))
        truth, present = torch.from_numpy(some.truth), torch.from_numpy(some.present)
        reached = torch.where(present, overlaps(boxes, truth), 0.0)
        overlap.append(reached[present])
        still.append(overlaps(home.expand_as(truth), truth)[present])
        off.append((trust.sigmoid() - reached).abs())
    if not overlap:
        return {}
    values = {"overlap": overlap, "overlap_standing_still": still, "trust_off_by": off}
    return {name: round(torch.cat(parts).mean().item(), 4) for name, parts in values.items()}


class _Running(nn.Module):
    """The network as it is run: bytes in, trust as a share out."""

    def __init__(self, network: BoxHead) -> None:
        super().__init__()
        self.network = network

    def forward(self, targets: Tensor, searches: Tensor) -> tuple[Tensor, Tensor]:
        boxes, trust = self.network(targets.permute(0, 3, 1, 2) / 255.0, searches.permute(0, 3, 1, 2) / 255.0)
        return boxes, trust.sigmoid()


def to_onnx(network: BoxHead) -> bytes:
    """The running graph: ``targets``, ``searches`` uint8 (N, 64, 64, 3) BGR -> ``boxes`` (N, 4), ``trust`` (N,).

    Raises:
        ValueError: ONNX Runtime gives something else than the network.
    """
    running = _Running(copy.deepcopy(network)).cpu().float().eval().requires_grad_(False)
    written, nothing = io.BytesIO(), torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter warns of its age; its successor needs a package more
        torch.onnx.export(
            running,
            (nothing, nothing),
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=["targets", "searches"],
            output_names=["boxes", "trust"],
            dynamic_axes={name: {0: "N"} for name in ("targets", "searches", "boxes", "trust")},
        )
    model = onnx.load_model_from_string(written.getvalue())
    model.ir_version = IR_VERSION
    model.producer_name = "throughline"
    model.producer_version = ""
    onnx.checker.check_model(model, full_check=True)
    data = bytes(model.SerializeToString(deterministic=True))
    if (off := parity(running, data)) > PARITY:
        raise ValueError(f"the exported box head differs from the network by {off:.2g}, over {PARITY:g}")
    return data


@torch.no_grad()
def parity(running: nn.Module, data: bytes) -> float:
    """The largest difference between network and export, in batches of 1, 3 and 8 pictures of noise and of shapes."""
    import onnxruntime  # here, so that training does without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    rng, worst = np.random.default_rng(0), 0.0
    for count in (1, 3, 8):
        coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        shifted = np.roll(coarse, (3, -5), axis=(1, 2))
        theirs = session.run(["boxes", "trust"], {"targets": coarse, "searches": shifted})
        ours = running(torch.from_numpy(coarse), torch.from_numpy(shifted))
        worst = max(worst, *(float(np.abs(a - b.numpy()).max()) for a, b in zip(theirs, ours, strict=True)))
    return worst


def load_checkpoint(path: Path) -> BoxHead:
    """The network of a checkpoint, ready to run.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else.
    """
    network = BoxHead()
    try:
        network.load_state_dict(torch.load(path, weights_only=True)["weights"])
    except FileNotFoundError:
        raise
    except Exception as problem:  # torch raises a dozen kinds for bytes that are no checkpoint
        raise ValueError(f"{path} is no checkpoint of the box head ({type(problem).__name__})") from problem
    return network.eval()


def export(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint's network as ``out``, an .onnx file, once it has proved to be the same network."""
    data = to_onnx(load_checkpoint(checkpoint))
    part = out.with_suffix(".part")
    part.write_bytes(data)
    part.replace(out)


if __name__ == "__main__":
    import sys

    from flow.__main__ import main

    sys.exit(main(["train-box", *sys.argv[1:]]))
