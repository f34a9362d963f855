"""How far off is an estimator? End-point errors against exact flow, beside OpenCV's and beside "nothing moves".

    from pathlib import Path
    from flow.evaluate import evaluate, pack_samples

    for row in evaluate(["none", "dis-medium", "tiny"], pack_samples(Path("pairs"))):
        ...

The end-point error is the length of (estimated - true), in pixels (Otte & Nagel, ECCV 1994). All means are over pixels,
of all pairs together, so that a person of 40 pixels weighs as many times a person of one.
"""

from __future__ import annotations

import time
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.estimator import load_estimator
from flow.packs import Pack, pack_folders
from flow.pairs import Pair
from flow.search import PRESETS, dense_search

# At full size and at half: what a learned estimator must be held against, at its accuracy and at its time.
REFERENCES = ("none", *(f"dis-{preset}{ending}" for ending in ("-half", "") for preset in PRESETS))
MOVING_PX = 2.0, 20.0  # what a person of a surveillance camera moves between two frames that are compared
# An outlier is off by more than 3 px and by more than 5 % (Fl; Menze & Geiger, CVPR 2015, section 5).
OUTLIER_PX, OUTLIER_SHARE = 3.0, 0.05
TRUSTED = 0.5


class Estimates(Protocol):
    """What can be measured: `flow.estimator.Estimator`, or anything alike."""

    def estimate(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 2) displacement in pixels from ``before`` to ``after``, both (H, W, 3) uint8 BGR."""
        ...


@dataclass(frozen=True)
class Sample:
    """Two pictures and the truth between them."""

    before: NDArray[np.uint8]  # (H, W, 3) BGR
    after: NDArray[np.uint8]  # (H, W, 3) BGR
    flow: NDArray[np.float32]  # (H, W, 2) px from before to after; NaN where nobody knows
    hidden: NDArray[np.bool_] | None = None  # (H, W) not seen in ``after``; None: nobody said
    people: NDArray[np.uint8] | None = None  # (H, W) 0, or a person's number; None: nobody said
    gap: int = 1  # frames from before to after


@dataclass
class Errors:
    """Sums of end-point errors over pixels, of the regions that are asked for."""

    total: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    pixels: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, sample: Sample, estimated: NDArray[np.float32], trust: NDArray[np.float32] | None) -> None:
        """Count one pair; where nothing is estimated (NaN), the guess counts as "nothing moved".

        Args:
            sample: The pair and its truth.
            estimated: (H, W, 2) in pixels.
            trust: (H, W) in [0, 1], or None where the estimator does not say.
        """
        length = np.hypot(sample.flow[..., 0], sample.flow[..., 1])
        off = np.nan_to_num(estimated) - sample.flow
        error = np.hypot(off[..., 0], off[..., 1])
        for name, where in regions(sample, length).items():
            self._count(name, error[where])
        known = np.isfinite(length)
        outlier = (error > OUTLIER_PX) & (error > OUTLIER_SHARE * length)
        self._count("outliers", outlier[known])
        if trust is not None:
            trusted = trust[known] > TRUSTED
            self._count("trusted", error[known][trusted])
            self._count("trusted_share", trusted)

    def mean(self, name: str) -> float | None:
        """Of a region; None where it has no pixel."""
        return self.total[name] / self.pixels[name] if self.pixels[name] else None

    def row(self) -> dict[str, float | None]:
        """End-point errors in pixels, ``outliers`` and ``trusted_share`` in per cent."""
        row = {f"epe_{name}": self.mean(name) for name in ("all", "visible", "people", "moving_people")}
        outliers, trusted = self.mean("outliers"), self.mean("trusted_share")
        row["outliers_percent"] = None if outliers is None else 100 * outliers
        row["epe_trusted"] = self.mean("trusted")
        row["trusted_percent"] = None if trusted is None else 100 * trusted
        return row

    def _count(self, name: str, values: NDArray[Any]) -> None:
        self.total[name] += float(values.sum(dtype=np.float64))
        self.pixels[name] += values.size


def regions(sample: Sample, length: NDArray[np.floating]) -> dict[str, NDArray[np.bool_]]:
    """Which pixels (H, W) count for what; ``length`` (H, W) is that of the true displacement.

    ``all``: where the truth is known. ``visible``: of these, what ``after`` shows, too. ``people``: of these, people.
    ``moving_people``: of these, what moves by `MOVING_PX`. What a sample does not say is left out; of people, where it
    does not say what is hidden, all counts.
    """
    known = np.asarray(np.isfinite(length), np.bool_)
    found = {"all": known}
    seen = known & ~sample.hidden if sample.hidden is not None else known
    if sample.hidden is not None:
        found["visible"] = seen
    if sample.people is not None:
        found["people"] = seen & (sample.people > 0)
        low, high = MOVING_PX
        found["moving_people"] = found["people"] & (length >= low) & (length <= high)
    return found


# --- what is measured


class OpenCvDis:
    """Dense inverse search as OpenCV ships it (Kroeger et al., ECCV 2016).

    Args:
        preset: One of `PRESETS`.
        shrink: Search on pictures that are so many times smaller.
    """

    def __init__(self, preset: str, shrink: int = 1) -> None:
        self._search = dense_search(preset)
        self._shrink = shrink

    def estimate(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Estimates.estimate`. Pictures too small to be searched do not move."""
        size = before.shape[1], before.shape[0]
        small = size[0] // self._shrink, size[1] // self._shrink
        found = self._search(_grey(before, small), _grey(after, small))
        if small == size:
            return found
        scale = np.array([size[0] / small[0], size[1] / small[1]], np.float32)
        return np.asarray(cv2.resize(found * scale, size, interpolation=cv2.INTER_LINEAR), np.float32)


def open_estimator(name: str, *, threads: int = 1) -> Estimates:
    """One by name: of `REFERENCES`, of `load_estimator` (``tiny``, ``base``, ``dis``), or an .onnx file.

    Raises:
        ValueError: There is no such estimator.
    """
    if name.startswith("dis-"):
        preset, _, ending = name.removeprefix("dis-").partition("-")
        if preset in PRESETS and ending in ("", "half"):
            return OpenCvDis(preset, 2 if ending else 1)
        raise ValueError(
            f"there is no flow estimator named {name!r}; of DIS there are: {', '.join(REFERENCES[1:])}"
        )
    return load_estimator(name, threads=threads)


def evaluate(
    names: Sequence[str], samples: Iterable[Sample], *, threads: int = 1, trust: bool = False
) -> list[dict[str, Any]]:
    """Errors of several estimators on the same pairs, a row each; of pairs with several gaps, a row each per gap.

    Args:
        names: See `open_estimator`.
        samples: Read once.
        threads: For the networks; DIS takes OpenCV's own number.
        trust: Also say how much of its flow an estimator trusts, and how far off that is.

    Raises:
        ValueError: There is no such estimator, or there are no pairs.
    """
    estimators = {name: open_estimator(name, threads=threads) for name in names}
    errors: defaultdict[tuple[int, str], Errors] = defaultdict(Errors)
    pairs: defaultdict[int, int] = defaultdict(int)
    for sample in samples:
        pairs[sample.gap] += 1
        for name, estimator in estimators.items():
            errors[sample.gap, name].add(sample, *_answer(estimator, sample, trust=trust))
    if not pairs:
        raise ValueError("there are no pairs to measure on")
    return [
        {"estimator": name, "gap": gap, "pairs": pairs[gap], **errors[gap, name].row()}
        for gap in sorted(pairs)
        for name in names
    ]


def _answer(
    estimator: Estimates, sample: Sample, *, trust: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    checked = getattr(estimator, "estimate_checked", None)
    if trust and checked is not None:
        return checked(sample.before, sample.after)  # type: ignore[no-any-return]
    return estimator.estimate(sample.before, sample.after), None


def milliseconds(names: Sequence[str], sample: Sample, *, threads: int, rounds: int = 15) -> dict[str, float]:
    """Median wall-clock time of ``estimate`` on one pair, of all estimators in turns, so that noise meets them alike.

    Args:
        names: See `open_estimator`.
        sample: The pair; its size is the size that is measured.
        threads: For the networks and for OpenCV.
        rounds: Turns that count; one before them does not.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        estimators = {name: open_estimator(name, threads=threads) for name in names}
        taken: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds + 1):
            for name, estimator in estimators.items():
                start = time.perf_counter()
                estimator.estimate(sample.before, sample.after)
                taken[name].append(1e3 * (time.perf_counter() - start))
    finally:
        cv2.setNumThreads(before)
    return {name: float(np.median(times[1:])) for name, times in taken.items()}


# --- pairs


def chairs_samples(folder: Path) -> Iterator[Sample]:
    """Pairs of pictures with their flow: ``NN_1.png``, ``NN_2.png`` and ``NN_flow.npz`` (one array (H, W, 2)).

    Raises:
        ValueError: There are none, or one cannot be read.
    """
    flows = sorted(folder.glob("*_flow.npz"))
    if not flows:
        raise ValueError(f"{folder}: there is no NN_flow.npz beside NN_1.png and NN_2.png")
    for path in flows:
        stem = path.name.removesuffix("_flow.npz")
        pictures = [read_picture(folder / f"{stem}_{number}.png") for number in (1, 2)]
        yield Sample(pictures[0], pictures[1], read_flow(path))


def read_flow(path: Path) -> NDArray[np.float32]:
    """(H, W, 2) float32 of an .npz file with one array, an .npy or a .flo file (Baker et al., IJCV 2011).

    Raises:
        ValueError: It is none of these.
    """
    try:
        found = _flo(path) if path.suffix == ".flo" else _numpy(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
        if isinstance(problem, FileNotFoundError):
            raise
        raise ValueError(f"{path} is no file of flow: {problem}") from problem
    if found.ndim != 3 or found.shape[2] != 2:
        raise ValueError(f"{path} holds an array {found.shape}, not (H, W, 2)")
    return np.asarray(found, np.float32)


def _numpy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:  # NumPy leaves a broken .npz open
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        if len(loaded.files) != 1:
            raise ValueError(f"it holds {len(loaded.files)} arrays, not one")
        return np.asarray(loaded[loaded.files[0]])


def _flo(path: Path) -> NDArray[np.float32]:
    data = path.read_bytes()
    if data[:4] != b"PIEH":
        raise ValueError("it does not begin with PIEH")
    width, height = np.frombuffer(data[4:12], "<i4")
    values = np.frombuffer(data[12:], "<f4")
    if values.size != 2 * width * height:
        raise ValueError(f"it says {width}x{height} and holds {values.size} numbers")
    return np.asarray(values.reshape(height, width, 2), np.float32)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """The picture of a file, (H, W, 3) uint8 BGR.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no picture.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such picture: {path}")
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path} is not a picture")
    return np.asarray(picture, np.uint8)


def pack_samples(folder: Path) -> Iterator[Sample]:
    """The pairs of a pack (``python -m flow pairs``, ``python -m scenes pairs``), or of packs in one folder.

    Raises:
        ValueError: It is none.
    """
    packs = pack_folders(folder)
    if not packs:
        raise ValueError(f"{folder}: there is no info.json, so it is no pack of pairs")
    return (sample_of(pair) for pack in packs for pair in Pack(pack))


def sample_of(pair: Pair) -> Sample:
    """A drawn or rendered pair, of which everything is known."""
    return Sample(pair.before, pair.after, pair.flow, pair.hidden, pair.people, pair.gap)


def resized(sample: Sample, size: tuple[int, int]) -> Sample:
    """The same pair at another width and height; its displacements shrink and grow with it."""
    height, width = sample.flow.shape[:2]
    if (width, height) == size:
        return sample
    how = cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR
    factor = np.array([size[0] / width, size[1] / height], np.float32)

    def nearest(mask: NDArray[Any] | None) -> NDArray[Any] | None:
        if mask is None:
            return None
        return np.asarray(
            cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST), mask.dtype
        )

    # The flow is sampled, not averaged: between two things there is no displacement in the middle of both.
    flow = cv2.resize(sample.flow, size, interpolation=cv2.INTER_NEAREST)
    return Sample(
        before=np.asarray(cv2.resize(sample.before, size, interpolation=how), np.uint8),
        after=np.asarray(cv2.resize(sample.after, size, interpolation=how), np.uint8),
        flow=np.asarray(flow * factor, np.float32),
        hidden=nearest(sample.hidden),
        people=nearest(sample.people),
        gap=sample.gap,
    )


def _grey(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    if (grey.shape[1], grey.shape[0]) != size:
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)
