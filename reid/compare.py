"""Several embedders side by side, in one run on one machine: accuracy, size and milliseconds a crop.

Times of two runs cannot be compared where the machine has other work; here the models take turns, round by round, so
that what slows one slows all.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import models
from reid.evaluate import Embedder, evaluate, load_any_embedder

BATCHES = (1, 32)


@dataclass(frozen=True)
class Compared:
    """One model of the comparison."""

    model: str
    sha256: str
    file_bytes: int
    parameters: int | None  # None where the onnx package is not installed, which counts them
    dim: int
    tests: Mapping[str, Mapping[str, Any]]  # by the test's name, a row of `reid.evaluate.evaluate`: per cent
    ms_per_crop: Mapping[int, float]  # by the number of crops in a batch


def compare(
    names: Sequence[str],
    tests: Sequence[str],
    data: Path | None,
    *,
    device: str = "cpu",
    threads: int = 1,
    cache: Path | None = None,
    rounds: int = 30,
    progress: Callable[[str], object] = str,
) -> list[Compared]:
    """Score models on the same pictures and time them in turns.

    Args:
        names: Of cards, or paths of .onnx files; what is not ours is opened as `reid.evaluate.ForeignEmbedder`.
        tests: See `reid.evaluate.query_and_gallery`.
        data: The folder of the named tests' pictures.
        device: For all of them; see `models.open_model`.
        threads: CPU threads of one model.
        cache: See `reid.datasets.load`.
        rounds: Of the timing.
        progress: Is told what begins.

    Raises:
        models.ModelError: A model cannot be opened.
        ValueError: One is no embedder, or a test cannot be made.
        FileNotFoundError: A data set is not there.
    """
    embedders = [load_any_embedder(name, device=device, threads=threads) for name in names]
    rows: list[dict[str, Mapping[str, Any]]] = [{} for _ in embedders]
    for test in tests:
        for own, embedder in zip(rows, embedders, strict=True):
            progress(f"{test}: {embedder.name}")
            (own[test],) = evaluate(embedder, [test], data, cache=cache)
    progress("milliseconds a crop")
    times = {batch: crop_times_ms(embedders, batch, rounds=rounds) for batch in BATCHES}
    files = [models.locate(name)[1] for name in names]
    return [
        Compared(
            model=embedder.name,
            sha256=embedder.model_hash,
            file_bytes=file.stat().st_size,
            parameters=parameters_of(file),
            dim=embedder.dim,
            tests=own,
            ms_per_crop={batch: times[batch][number] for batch in BATCHES},
        )
        for number, (embedder, file, own) in enumerate(zip(embedders, files, rows, strict=True))
    ]


# --- time


def interleaved_ms(calls: Sequence[Callable[[], object]], *, rounds: int = 30) -> list[float]:
    """Milliseconds that each call takes: the median over ``rounds``, in each of which every call runs once.

    The order turns from round to round, so that none always follows the same other. Each runs once beforehand.

    Raises:
        ValueError: There is no round to measure.
    """
    if rounds < 1:
        raise ValueError(f"a time needs at least 1 round, not {rounds}")
    for call in calls:
        call()
    spent: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds):
        for number in (*range(turn % len(calls), len(calls)), *range(turn % len(calls))):
            began = time.perf_counter()
            calls[number]()
            spent[number].append(time.perf_counter() - began)
    return [1e3 * statistics.median(times) for times in spent]


def crop_times_ms(embedders: Sequence[Embedder], batch: int, *, rounds: int = 30) -> list[float]:
    """Milliseconds that each embedder takes for one crop of 128x64, ``batch`` of them at a time.

    From the crop as it was cut out to its row: resizing and scaling count, wherever a model does them.
    """
    crops = list(np.random.default_rng(0).integers(0, 256, (batch, 128, 64, 3), dtype=np.uint8))
    calls = [functools.partial(embedder.embed, crops) for embedder in embedders]
    return [ms / batch for ms in interleaved_ms(calls, rounds=rounds)]


# --- size


def parameters_of(path: Path) -> int | None:
    """How many weights an ONNX file holds, whole-number constants left out; None without the ``onnx`` package."""
    try:
        import onnx
    except ImportError:
        return None
    graph = onnx.load(str(path)).graph
    index_types = {onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL}
    weights = [tensor for tensor in graph.initializer if tensor.data_type not in index_types]
    return sum(int(np.prod(tensor.dims)) for tensor in weights)


# --- tables and pictures


def markdown(compared: Sequence[Compared]) -> str:
    """A Markdown table, one model a line; percent, and ms a crop on one thread."""
    tests = list(compared[0].tests)
    heads = ["model", "parameters", "file"]
    heads += [f"{test} rank-1 / mAP / EER" for test in tests]
    heads += [f"ms a crop, batch {batch}" for batch in compared[0].ms_per_crop]
    lines = [heads, ["---"] * len(heads)]
    for one in compared:
        size = "unknown" if one.parameters is None else f"{one.parameters / 1e6:.2f} M"
        scores = [one.tests[test] for test in tests]
        lines.append(
            [
                f"`{one.model}`",
                size,
                f"{one.file_bytes / 1e6:.1f} MB",
                *(f"{own['rank1']:.1f} / {own['mAP']:.1f} / {own['EER']:.1f}" for own in scores),
                *(f"{ms:.2f}" for ms in one.ms_per_crop.values()),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of (cost, worth) no other beats in both: their numbers, the cheapest first."""
    order = sorted(range(len(points)), key=lambda k: (points[k][0], -points[k][1]))
    kept: list[int] = []
    for k in order:
        if not kept or points[k][1] > points[kept[-1]][1]:
            kept.append(k)
    return kept


PANEL_WIDTH, PANEL_HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 380, 60, 30, 40, 50
INK, GRID, LINE, DOT = (40, 40, 40), (225, 225, 225), (200, 140, 60), (160, 70, 20)  # BGR


def curve(compared: Sequence[Compared], *, batch: int = BATCHES[0]) -> NDArray[np.uint8]:
    """Accuracy against time: a panel a test, mAP (%) over ms a crop (logarithmic), (H, W, 3) uint8 BGR.

    A line joins the models that no other beats in both.
    """
    panels = []
    for test in compared[0].tests:
        points = [(one.ms_per_crop[batch], float(one.tests[test]["mAP"])) for one in compared]
        panels.append(_panel(f"{test}: mAP (%) over ms a crop, batch {batch}", points, compared))
    return np.hstack(panels)


def _panel(
    title: str, points: Sequence[tuple[float, float]], compared: Sequence[Compared]
) -> NDArray[np.uint8]:
    panel = np.full((PANEL_HEIGHT, PANEL_WIDTH, 3), 255, np.uint8)
    costs, worths = np.log([ms for ms, _ in points]), np.array([worth for _, worth in points])
    room = 0.5 * max(float(np.ptp(costs)), 1.0)  # on a logarithmic scale, this holds a tick at least
    low, high = float(costs.min()) - 0.5 * room, float(costs.max()) + room  # names stand to the right
    step = 5.0 if float(np.ptp(worths)) <= 25.0 else 10.0
    bottom = max(0.0, step * np.floor(float(worths.min()) / step - 0.5))
    top = min(100.0, step * np.ceil(float(worths.max()) / step + 0.5))

    def place(cost: float, worth: float) -> tuple[int, int]:
        x = LEFT + (cost - low) / (high - low) * (PANEL_WIDTH - LEFT - RIGHT)
        y = PANEL_HEIGHT - BOTTOM - (worth - bottom) / (top - bottom) * (PANEL_HEIGHT - TOP - BOTTOM)
        return round(x), round(y)

    for worth in np.arange(bottom, top + 1.0, step):
        cv2.line(panel, place(low, worth), place(high, worth), GRID, 1)
        _write(panel, f"{worth:.0f}", (14, place(low, worth)[1] + 4))
    for ms in _ticks(np.exp(low), np.exp(high)):
        cv2.line(panel, place(np.log(ms), bottom), place(np.log(ms), top), GRID, 1)
        _write(panel, f"{ms:g}", (place(np.log(ms), bottom)[0] - 10, PANEL_HEIGHT - BOTTOM + 18))
    best = [place(costs[k], worths[k]) for k in front(points)]
    for start, end in zip(best, best[1:], strict=False):
        cv2.line(panel, start, end, LINE, 2, cv2.LINE_AA)
    for one, cost, worth in zip(compared, costs, worths, strict=True):
        x, y = place(cost, worth)
        cv2.circle(panel, (x, y), 5, DOT, -1, cv2.LINE_AA)
        _write(panel, one.model, (x + 8, y + 16))  # a rising line leaves this corner free
    _write(panel, title, (LEFT, 22))
    return panel


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 3, 5 and 7 times the powers of ten between two numbers."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [
        step * 10.0**power
        for power in powers
        for step in (1.0, 2.0, 3.0, 5.0, 7.0)
        if low <= step * 10.0**power <= high
    ]


def _write(panel: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    cv2.putText(panel, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
