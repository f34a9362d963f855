"""Milliseconds a crop of several embedders, side by side in one run.

    python -m benchmarks.embedder_speed research PEER.onnx

A model is a name of ``models list`` or the path of an .onnx file with one picture input, bytes (N, H, W, 3) or floats
(N, 3, H, W). The graph alone is timed, on a prepared batch: what a foreign model needs beforehand (resizing, scaling,
another order of channels) costs it nothing here, while ours does its scaling inside. Models take turns within each
round and each round begins with another one, so that what else the machine does falls on all alike; on one
thread, what is counted is the time in which that thread ran.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

import models
from reid.pictures import HEIGHT, WIDTH

WARM_UP = 3


@dataclass(frozen=True)
class Speed:
    """What one model took for batches of one size."""

    model: str
    bytes: int
    input: str
    batch: int
    ms: float  # a crop, median of the rounds
    ms_low: float  # a quarter of the rounds was quicker
    ms_high: float  # a quarter was slower


def batch_for(shape: Sequence[int | str | None], kind: str, batch: int) -> NDArray[np.generic]:
    """Noise of the shape and type that a model takes; free sides become those of a crop.

    Raises:
        ValueError: It takes no pictures, or only batches of another size.
    """
    if len(shape) != 4 or kind not in ("tensor(uint8)", "tensor(float)"):
        raise ValueError(
            f"an embedder takes one batch of pictures, bytes or floats, not {kind} {list(shape)}"
        )
    usual = (batch, HEIGHT, WIDTH, 3) if kind == "tensor(uint8)" else (batch, 3, HEIGHT, WIDTH)
    sides = tuple(side if isinstance(side, int) else free for side, free in zip(shape, usual, strict=True))
    if sides[0] != batch:
        raise ValueError(f"the model takes batches of {sides[0]} alone, not of {batch}")
    rng = np.random.default_rng(0)
    if kind == "tensor(uint8)":
        return rng.integers(0, 256, sides, dtype=np.uint8)
    return rng.standard_normal(sides, dtype=np.float32)


def take_turns(
    runs: Sequence[Callable[[], object]], rounds: int, now_s: Callable[[], float] = time.perf_counter
) -> NDArray[np.float64]:
    """(R, M) seconds of each of M runs in each of R rounds; round r begins with run r mod M."""
    spent = np.empty((rounds, len(runs)))
    for number in range(-WARM_UP, rounds):
        for step in range(len(runs)):
            which = (number + step) % len(runs)
            began = now_s()
            runs[which]()
            if number >= 0:
                spent[number, which] = now_s() - began
    return spent


def measure(names: Sequence[str], *, batches: Sequence[int], rounds: int, threads: int) -> list[Speed]:
    """Time models against each other on the CPU.

    Raises:
        models.ModelError: There is no such model.
        ValueError: A model takes no pictures, or no such batch.
    """
    opened = [models.open_model(name, device="cpu", threads=threads) for name in names]
    clock = time.thread_time if threads == 1 else time.perf_counter
    found = []
    for batch in batches:
        runs = []
        for one in opened:
            asked = one.session.get_inputs()[0]
            given = {asked.name: batch_for(asked.shape, asked.type, batch)}
            runs.append(lambda session=one.session, given=given: session.run(None, given))
        ms = take_turns(runs, rounds, clock) * 1e3 / batch
        for one, column in zip(opened, ms.T, strict=True):
            asked = one.session.get_inputs()[0]
            low, middle, high = (float(value) for value in np.percentile(column, [25, 50, 75]))
            shape = f"{asked.type[7:-1]} {list(asked.shape)}"
            found.append(Speed(one.name, one.path.stat().st_size, shape, batch, middle, low, high))
    return found


def as_text(found: Sequence[Speed]) -> str:
    """One line for each model and batch, after a heading."""
    width = max(len("model"), *(len(one.model) for one in found))
    lines = [f"{'model':{width}}  batch  ms a crop  quarter to three quarters     kB"]
    lines += [
        f"{one.model:{width}}  {one.batch:5d}  {one.ms:9.3f}  {one.ms_low:10.3f} to {one.ms_high:<12.3f}"
        f"  {one.bytes / 1e3:5.0f}"
        for one in found
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embedder_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="name, or path of an .onnx file")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="(default: 1 32)")
    parser.add_argument("--rounds", type=int, default=50, help="of each batch size (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a run (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="as JSON, with the machine")
    options = parser.parse_args(argv)
    if min(*options.batches, options.rounds, options.threads) < 1:
        parser.error("batches, rounds and threads are at least 1")
    try:
        found = measure(
            options.models, batches=options.batches, rounds=options.rounds, threads=options.threads
        )
    except (ValueError, models.ModelError) as problem:
        print(problem, file=sys.stderr)
        return 2
    if options.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
        print(json.dumps({**machine, "speeds": [asdict(one) for one in found]}, indent=1))
    else:
        print(as_text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
