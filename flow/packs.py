"""Pairs on disk: a folder of memory-mapped columns, and the changes that make more pairs out of few.

``pictures.npy`` (N, 2, H, W, 3) uint8 BGR, ``flow.npy`` (N, H, W, 2) float16, ``hidden.npy`` (N, H, W) bool,
``people.npy`` (N, H, W) uint8, ``gap.npy`` (N,) int16 and ``info.json``, which says how the pack was made.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from flow.exposure import photograph
from flow.motion import Matrix, about, similarity
from flow.pairs import Pair

UNFINISHED = ".unfinished", ".new"  # endings of folders that `python -m scenes pairs` is still filling


def pack_folders(folder: Path) -> list[Path]:
    """The finished packs of a folder, by name: itself, or those right inside it; none where there is none."""
    if (folder / "info.json").is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/info.json"))
    return [pack for pack in found if pack.suffix not in UNFINISHED]


class Pack:
    """The pairs of a folder, read only as far as they are asked for.

    Args:
        folder: A pack as ``write_pack`` leaves it.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not (folder / "info.json").is_file():
            raise FileNotFoundError(f"{folder}: not a pack of pairs, there is no info.json")
        self.info: dict[str, Any] = json.loads((folder / "info.json").read_text())
        self._pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self._flow = np.load(folder / "flow.npy", mmap_mode="r")
        self._hidden = np.load(folder / "hidden.npy", mmap_mode="r")
        self._people = np.load(folder / "people.npy", mmap_mode="r")
        self._gap = np.load(folder / "gap.npy")
        columns = (self._flow, self._hidden, self._people, self._gap)
        if any(len(column) != len(self._pictures) for column in columns):
            raise ValueError(f"{folder}: columns of different length")

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, number: int) -> Pair:
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        before, after = np.array(self._pictures[number])
        return Pair(
            before,
            after,
            self._flow[number].astype(np.float32),
            np.array(self._hidden[number]),
            np.array(self._people[number]),
            int(self._gap[number]),
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))


def write_pack(
    folder: str | Path, pairs: Iterable[Pair], count: int, info: Mapping[str, Any] | None = None
) -> None:
    """Write the first ``count`` pairs, all of one size, as a pack.

    ``info.json`` is written last: a folder without it was not finished. Flow is kept as float16, exact to 1/64 px
    below 32 px and to 1/16 px below 128 px.

    Raises:
        ValueError: If there are fewer pairs than ``count``, or they differ in size.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "info.json").unlink(missing_ok=True)
    columns: dict[str, NDArray] = {}
    written = 0
    for pair in pairs:
        columns = columns or _columns(folder, count, *pair.flow.shape[:2])
        if pair.flow.shape != columns["flow"].shape[1:]:
            raise ValueError(
                f"pair {written} is {pair.flow.shape[:2]}, the first {columns['flow'].shape[1:3]}"
            )
        columns["pictures"][written] = pair.before, pair.after
        columns["flow"][written] = pair.flow
        columns["hidden"][written] = pair.hidden
        columns["people"][written] = pair.people
        columns["gap"][written] = pair.gap
        written += 1
        if written == count:
            break
    if written < count:
        raise ValueError(f"{written} pairs where {count} were to be written")
    for column in columns.values():
        if isinstance(column, np.memmap):
            column.flush()
    (folder / "info.json").write_text(json.dumps({**(info or {}), "pairs": count}, indent=1) + "\n")


def _columns(folder: Path, count: int, height: int, width: int) -> dict[str, NDArray]:
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "pictures": (np.uint8, (2, height, width, 3)),
        "flow": (np.float16, (height, width, 2)),
        "hidden": (np.bool_, (height, width)),
        "people": (np.uint8, (height, width)),
        "gap": (np.int16, ()),
    }
    return {
        name: open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(count, *shape))
        for name, (dtype, shape) in shapes.items()
    }


def augment(
    pair: Pair,
    rng: np.random.Generator,
    *,
    height: int | None = None,
    width: int | None = None,
    largest_zoom: float = 1.5,
    shake: float = 0.3,
    noise: bool = True,
) -> Pair:
    """Another view of a pair: mirrored, zoomed, cropped, through another camera; its flow stays exact.

    Args:
        height: Of the result, the pair's own where None.
        width: Of the result, the pair's own where None.
        largest_zoom: Zoom is drawn between what just fills the result and this (at least what fills).
        shake: Chance that ``after`` is moved as a whole on top, as by a camera that moves.
        noise: Whether light, lens, noise and coding are changed too.
    """
    high, wide = pair.hidden.shape
    height, width = height or high, width or wide
    view = _view(rng, (high, wide), (height, width), largest_zoom)
    move = _shake(rng, height, width) if rng.random() < shake else np.eye(3)
    seen = reframe(pair, view, move, height, width)
    if not noise:
        return seen
    before, after = photograph(rng, seen.before, seen.after)
    return replace(seen, before=before, after=after)


def _view(
    rng: np.random.Generator, old: tuple[int, int], new: tuple[int, int], largest_zoom: float
) -> Matrix:
    """A zoomed, sometimes mirrored crop that lies within the picture: (3, 3) from its pixels to the crop's."""
    (high, wide), (height, width) = old, new
    fills = max(height / high, width / wide)
    zoom = np.exp(rng.uniform(np.log(fills), np.log(max(fills, largest_zoom))))
    zooms = np.maximum(zoom * np.exp(rng.normal(0, 0.05, 2)), [width / wide, height / high])  # x, y
    spare = zooms * [wide, high] - [width, height]
    left, top = rng.uniform(0, 1, 2) * np.maximum(spare, 0)
    # Pixel centres are whole numbers, so a zoom acts about the corner at (-0.5, -0.5).
    view = similarity(0, 1, np.array([-0.5 - left, -0.5 - top])) @ np.diag([*zooms, 1.0])
    view = view @ similarity(0, 1, np.array([0.5, 0.5]))
    if rng.random() < 0.5:
        view = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]]) @ view
    if rng.random() < 0.1:
        view = np.array([[1.0, 0, 0], [0, -1, height - 1], [0, 0, 1]]) @ view
    return view


def _shake(rng: np.random.Generator, height: int, width: int) -> Matrix:
    """A small movement of the whole picture: of some px in 512, and of a degree or less."""
    middle = np.array([width / 2, height / 2])
    turned = about(similarity(rng.normal(0, 0.01), np.exp(rng.normal(0, 0.01)), np.zeros(2)), middle)
    return similarity(0.0, 1.0, rng.normal(0, width / 100, 2)) @ turned


def reframe(pair: Pair, view: Matrix, move: Matrix, height: int, width: int) -> Pair:
    """The pair seen through ``view``, ``after`` through ``move`` on top: affine matrices from old pixels to new ones.

    A point p of the old ``before`` is found at v = view(p), and what it shows at move(view(p + flow)) in the new
    ``after``; hence the new flow there. Beyond the old ``before`` nothing is known: hidden, without flow or person.
    """
    before = _warped(pair.before, view, height, width, cv2.INTER_LINEAR)
    after = _warped(pair.after, move @ view, height, width, cv2.INTER_LINEAR)
    # Flow, hiding and people are looked up, not mixed: the mean of two motions is nobody's.
    hiding = _warped(pair.hidden.astype(np.uint8), view, height, width, cv2.INTER_NEAREST, beyond=2)
    people = _warped(pair.people, view, height, width, cv2.INTER_NEAREST, beyond=0)
    flow = cv2.transform(
        _warped(pair.flow, view, height, width, cv2.INTER_NEAREST, beyond=0), (move @ view)[:2, :2]
    )
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    drift = (move - np.eye(3)).astype(np.float32)
    for axis in range(2):
        flow[..., axis] += drift[axis, 0] * x + drift[axis, 1] * y + drift[axis, 2]
    flow[hiding == 2] = 0
    there_x, there_y = x + flow[..., 0], y + flow[..., 1]
    inside = (there_x > -0.5) & (there_x < width - 0.5) & (there_y > -0.5) & (there_y < height - 0.5)
    return Pair(before, after, np.asarray(flow, np.float32), (hiding > 0) | ~inside, people, pair.gap)


def _warped(
    picture: NDArray, matrix: Matrix, height: int, width: int, mixing: int, beyond: int | None = None
) -> NDArray[Any]:
    """A picture moved by an affine matrix into (height, width); beyond its rim a value, or where None its mirror."""
    mode = cv2.BORDER_REFLECT if beyond is None else cv2.BORDER_CONSTANT
    value = (beyond or 0,) * 4
    return np.asarray(cv2.warpAffine(picture, matrix[:2], (width, height), None, mixing, mode, value))
