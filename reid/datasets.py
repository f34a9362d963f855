"""Market-1501, CUHK03, CUHK01 and PKU-Reid, read from their zip files into plain arrays.

The data are for research use and are never part of this project: every function takes the folder that holds
``market1501/``, ``cuhk03/``, ``cuhk01/`` and ``pku/``. Decoding happens once; a cache of .npy files can be
memory-mapped afterwards.
"""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.pictures import HEIGHT, WIDTH, to_input


@dataclass(frozen=True)
class Pictures:
    """N labelled crops, as columns of equal length."""

    crops: NDArray[np.uint8]  # (N, 128, 64, 3) BGR
    ids: NDArray[np.int64]  # (N,) who, within the set
    cameras: NDArray[np.int64]  # (N,) seen by which camera, within the set

    def __post_init__(self) -> None:
        if not len(self.crops) == len(self.ids) == len(self.cameras):
            raise ValueError(f"{len(self.crops)} crops, {len(self.ids)} ids, {len(self.cameras)} cameras")

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, keep: NDArray[np.generic]) -> "Pictures":
        """The rows chosen by a mask or an index array."""
        return Pictures(self.crops[keep], self.ids[keep], self.cameras[keep])


@dataclass(frozen=True)
class Part:
    """Where one part of a set lies, and what its file names say."""

    file: str  # zip, below the data folder
    label: Callable[
        [PurePosixPath], tuple[int, int] | None
    ]  # path in the zip -> (id, camera); None: left out


def market_label(path: PurePosixPath) -> tuple[int, int] | None:
    """``0002_c1s1_000451_03.jpg``: person 2, camera 1. Junk (-1) is left out, as the protocol ignores it."""
    found = re.match(r"(-?\d+)_c(\d)s\d", path.name)
    return (int(found[1]), int(found[2])) if found and int(found[1]) >= 0 else None


def cuhk03_label(path: PurePosixPath) -> tuple[int, int] | None:
    """``1000_07.jpg``: person 1000; pictures 0 to 4 are of camera 1, 5 to 9 of camera 2."""
    found = re.fullmatch(r"(\d+)_(\d\d)", path.stem)
    return (int(found[1]), 1 if int(found[2]) < 5 else 2) if found else None


def cuhk01_label(path: PurePosixPath) -> tuple[int, int] | None:
    """``0971003.jpg``: person 971; pictures 1 and 2 are of camera 1, 3 and 4 of camera 2."""
    found = re.fullmatch(r"(\d{4})(\d{3})", path.stem)
    return (int(found[1]), 1 if int(found[2]) < 3 else 2) if found else None


def pku_label(path: PurePosixPath) -> tuple[int, int] | None:
    """``data/train/001/02_5.png``: person 1, camera 2, body orientation 5."""
    found = re.fullmatch(r"(\d\d)_\d", path.stem)
    return (int(path.parent.name), int(found[1])) if found else None


PARTS = {
    "market1501_train": Part("market1501/bounding_box_train.zip", market_label),
    "market1501_query": Part("market1501/query.zip", market_label),
    "market1501_gallery": Part("market1501/bounding_box_test.zip", market_label),
    "cuhk03": Part("cuhk03/labeled_train_743ids.zip", cuhk03_label),
    "cuhk01": Part("cuhk01/cuhk01_jpeg88.zip", cuhk01_label),
    "pku": Part("pku/pku_reid_74ids.zip", pku_label),  # for measuring on an unseen site: never train on it
}


def load(folder: Path, part: str, cache: Path | None = None) -> Pictures:
    """Read one part of `PARTS`; with ``cache``, decode only once and memory-map afterwards.

    The sets lie in ``folder``, or in its ``reid/`` where it has one.

    Raises:
        FileNotFoundError: The part's zip is not there.
        ValueError: It holds no picture with a label.
    """
    if cache is not None and (cache / f"{part}.npy").is_file():
        labels = np.load(cache / f"{part}_labels.npy")
        return Pictures(np.load(cache / f"{part}.npy", mmap_mode="r"), labels[0], labels[1])
    inside = folder / "reid"
    source = (inside if inside.is_dir() else folder) / PARTS[part].file
    if not source.is_file():
        raise FileNotFoundError(f"no data set at {source}: give the folder that holds {PARTS[part].file}")
    crops, labels = _read_zip(source, PARTS[part].label)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        np.save(cache / f"{part}_labels.npy", labels)
        np.save(cache / f"{part}.npy", crops)
    return Pictures(crops, labels[0], labels[1])


def _read_zip(
    source: Path, label: Callable[[PurePosixPath], tuple[int, int] | None]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with zipfile.ZipFile(source) as archive:
        paths = [PurePosixPath(name) for name in sorted(archive.namelist())]
        wanted = [(p, found) for p in paths if p.suffix in (".jpg", ".png") and (found := label(p))]
        if not wanted:
            raise ValueError(f"{source} holds no picture whose name tells who is on it")
        crops = np.empty((len(wanted), HEIGHT, WIDTH, 3), np.uint8)
        for row, (path, _) in enumerate(wanted):
            picture = cv2.imdecode(np.frombuffer(archive.read(str(path)), np.uint8), cv2.IMREAD_COLOR)
            if picture is None:
                raise ValueError(f"{source}: {path} is not a picture")
            crops[row] = to_input(np.asarray(picture, np.uint8))
    return crops, np.array([found for _, found in wanted], np.int64).T


def join(sets: list[Pictures]) -> tuple[Pictures, NDArray[np.int64]]:
    """Several sets as one, ids renumbered 0..P-1 so that nobody is in two sets; and each row's set number."""
    ids, next_id = [], 0
    for one in sets:
        _, numbered = np.unique(one.ids, return_inverse=True)
        ids.append(numbered + next_id)
        next_id += int(numbered.max()) + 1
    origin = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    crops = np.concatenate([one.crops for one in sets])
    return Pictures(crops, np.concatenate(ids), np.concatenate([one.cameras for one in sets])), origin


def hold_out(pictures: Pictures, people: int, rng: np.random.Generator) -> tuple[Pictures, Pictures]:
    """Split by person: (everybody else, ``people`` drawn by ``rng``)."""
    drawn = rng.choice(np.unique(pictures.ids), people, replace=False)
    held = np.isin(pictures.ids, drawn)
    return pictures.where(~held), pictures.where(held)
