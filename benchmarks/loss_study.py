"""Which loss? One small network, one budget, one loss after the other.

    python -m benchmarks.loss_study --data DIR --out OUT                         four losses, one seed
    python -m benchmarks.loss_study --data DIR --out OUT --full --device cuda    all, with and without identities

Each run trains on Market-1501's training people and is scored on its query and gallery, cosine. A run that was
interrupted goes on; one that is done is not trained again. The table is written to OUT/losses.md, too.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reid import datasets
from reid.evaluate import as_row, score
from reid.export import load_checkpoint
from reid.model import ReidNet
from reid.recipe import Recipe
from reid.train import embed_all, run

BASE = Recipe(
    network="lite_small",
    sets=("market1501_train",),
    weights=(1.0,),
    hold_out=(0,),
    height=64,
    width=32,
    small_until=0.0,
    identity=0.0,
    easy=0.0,
    mine_from=1.0,  # no look-alikes: the losses alone
)
# A margin is in the unit of its loss: the squared distance of unit rows for contrastive (1 is a cosine of a half), the
# distance for the others.
LOSSES = {
    "contrastive, batch-hard": replace(BASE, loss="contrastive", margin=1.0),
    "triplet, batch-hard": replace(BASE, loss="triplet"),
    "adaptive-weighted triplet": replace(BASE, loss="adaptive"),
    "quadruplet, online margins": replace(BASE, loss="quadruplet"),
}
MORE = {
    "triplet, random": replace(BASE, loss="triplet", miner="random"),
    "triplet, semi-hard": replace(BASE, loss="triplet", miner="semi-hard"),
    "triplet, soft margin, batch-hard": replace(BASE, loss="soft-triplet"),
    "circle": replace(BASE, loss="circle"),
}


FIGURES = ("rank1", "mAP", "EER")


@dataclass
class Trained:
    """A network as `reid.evaluate` takes an embedder; ``size`` is (height, width)."""

    network: ReidNet
    size: tuple[int, int]
    name: str = "trained"
    model_hash: str = ""

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(N, D) unit rows of N crops of one size."""
        return embed_all(self.network, np.stack(crops), self.size)


@dataclass(frozen=True)
class Study:
    """Where the pictures are and how long each run is."""

    data: Path
    out: Path
    cache: Path | None
    device: str

    def score(self, name: str, recipe: Recipe) -> dict[str, object]:
        """Train one (or find it done) and score it.

        Raises:
            ValueError: What is there was made with another recipe.
        """
        folder = self.out / f"{name.replace(',', '').replace(' ', '_')}_{recipe.seed}"
        result = folder / "scores.json"
        if result.is_file():
            if load_checkpoint(folder / "checkpoint.pt")[1] != recipe:
                raise ValueError(f"{folder} was made with another recipe: give another --out")
            found: dict[str, object] = json.loads(result.read_text())
            return found
        began = time.monotonic()
        checkpoint = run(recipe, self.data, folder, device=self.device, cache=self.cache)
        spent = time.monotonic() - began
        network, _ = load_checkpoint(checkpoint)
        trained = Trained(network.to(self.device), (recipe.height, recipe.width))
        sides = [datasets.load(self.data, f"market1501_{part}", self.cache) for part in ("query", "gallery")]
        row = as_row(score(trained, *sides))
        scores: dict[str, object] = {
            "loss": name,
            "seed": recipe.seed,
            "steps": recipe.steps,
            "minutes": round(spent / 60, 1),
            **{figure: row[figure] for figure in FIGURES},
        }
        result.write_text(json.dumps(scores))
        return scores


def recipes(*, full: bool, steps: int, seeds: int) -> list[tuple[str, Recipe]]:
    """What is trained, in order."""
    chosen = dict(LOSSES)
    if full:
        chosen |= MORE
        chosen |= {f"{name}, with identities": replace(one, identity=1.0) for name, one in chosen.items()}
        chosen["identities alone"] = replace(BASE, loss="none", identity=1.0)
    return [
        (name, replace(one, steps=steps, seed=seed)) for seed in range(seeds) for name, one in chosen.items()
    ]


def table(rows: list[dict[str, object]]) -> str:
    """Markdown, one row a run."""
    names = ("loss", "seed", "steps", "minutes", *FIGURES)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loss_study", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds reid/market1501")
    parser.add_argument("--out", type=Path, required=True, help="for checkpoints and the table")
    parser.add_argument("--cache", type=Path, help="folder for decoded pictures")
    parser.add_argument(
        "--full", action="store_true", help="all losses and miners, with and without identities, 2 seeds"
    )
    parser.add_argument("--steps", type=int, default=4000, help="batches of 64 pictures a run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    study = Study(options.data, options.out, options.cache, options.device)
    rows = []
    for name, recipe in recipes(full=options.full, steps=options.steps, seeds=2 if options.full else 1):
        rows.append(study.score(name, recipe))
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "losses.md").write_text(table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
