"""Rendered and real people side by side in one sheet without labels, and how well somebody told them apart.

Both kinds are cut, shrunk with the same filter to the same heights and stored with the same JPEG quality, so that
neither size nor format gives them away.
"""

from __future__ import annotations

import csv
import math
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.detector_recall import DATA_SETS, pictures

LEAST_PX, LARGEST_PX = 60, 120  # heights of the thumbnails
JPEG_QUALITY = 85
CELL_PX = (150, 112)  # height, width of a place in the sheet
COLUMNS = 8
TRIES = 400
ZIPS = ("reid/market1501/query.zip", "reid/cuhk01/cuhk01_jpeg88.zip", "reid/pku/pku_reid_74ids.zip")
REAL, RENDERED = "real", "rendered"

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Thumbnail:
    """One picture to judge."""

    image: Image  # (h, w, 3) BGR
    kind: str
    origin: str  # for the key
    person: str  # nobody is shown twice


Source = Callable[[np.random.Generator, int], Thumbnail | None]  # of this height; None: not this time


def _as_all(image: Image, height_px: int) -> Image:
    """Shrunk and stored as all thumbnails are."""
    width_px = max(1, round(image.shape[1] * height_px / image.shape[0]))
    small = cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def cut_out(image: Image, box: NDArray[np.floating], rng: np.random.Generator) -> Image | None:
    """The picture of one person as a detector's box would give it: up to 6 % off at every side.

    None where the box reaches beyond the picture.
    """
    H, W = image.shape[:2]
    x1, y1, x2, y2 = box
    if x1 < 1 or y1 < 1 or x2 > W - 1 or y2 > H - 1 or x2 - x1 < 8:
        return None
    moves = rng.uniform(-0.02, 0.06, 4) * np.array([-1, -1, 1, 1]) * (y2 - y1)
    x1, y1, x2, y2 = np.clip(np.round(box + moves), 0, [W, H, W, H]).astype(int)
    return image[y1:y2, x1:x2]


def read_people(path: Path) -> NDArray[np.float64]:
    """Rows (N, 6) frame, id, x1, y1, x2, y2 of a MOT file; those that are not to be scored are left out."""
    table = np.loadtxt(path, delimiter=",", ndmin=2)
    table = table[table[:, 6] != 0]
    return np.concatenate((table[:, :4], table[:, 2:4] + table[:, 4:6]), axis=1)


def of_clip(clip: Path, people: NDArray[np.float64], kind: str, place: str) -> Source:
    """People cut from a clip by its truth: rows (N, 6) as `read_people` gives them. Ids hold for the place."""
    heights = people[:, 5] - people[:, 3]

    def draw(rng: np.random.Generator, height_px: int) -> Thumbnail | None:
        large = people[heights >= height_px]
        if not len(large):
            return None
        row = large[int(rng.integers(len(large)))]
        frame, number = int(row[0]), int(row[1])
        for _, image in pictures(clip, [frame]):
            person = cut_out(image, row[2:], rng)
            if person is not None and person.shape[0] >= height_px:
                origin = f"{place} {clip.name} frame {frame} id {number}"
                return Thumbnail(_as_all(person, height_px), kind, origin, f"{place} {number}")
        return None

    return draw


def of_zip(path: Path) -> Source:
    """The crops of a re-identification set as they are."""
    with zipfile.ZipFile(path) as source:
        names = sorted(name for name in source.namelist() if re.search(r"\.(jpg|png)$", name))

    def draw(rng: np.random.Generator, height_px: int) -> Thumbnail | None:
        name = names[int(rng.integers(len(names)))]
        with zipfile.ZipFile(path) as source:
            read = cv2.imdecode(np.frombuffer(source.read(name), np.uint8), cv2.IMREAD_COLOR)
        if read is None or read.shape[0] < height_px:
            return None
        # Person 12 is 0012_c1..., 0012003 or 012/01_3, as the set has it.
        person = name.split("/")[-2] if path.parent.name == "pku" else name.split("/")[-1][:4]
        place = path.parent.name
        return Thumbnail(
            _as_all(np.asarray(read, np.uint8), height_px), REAL, f"{place} {name}", f"{place} {person}"
        )

    return draw


def one_of(sources: Sequence[Source]) -> Source:
    """Several sources that count as one."""
    return lambda rng, height_px: sources[int(rng.integers(len(sources)))](rng, height_px)


def real_sources(data: Path) -> list[Source]:
    """What there is below a data folder: each data set of clips with truth, each set of crops."""
    found = []
    for data_set in DATA_SETS:
        own = [
            of_clip(data / clip, read_people(data / truth), REAL, data_set.name)
            for clip, truth in data_set.clips
            if (data / clip).exists() and (data / truth).is_file()
        ]
        if own:
            found.append(one_of(own))
    return found + [of_zip(data / name) for name in ZIPS if (data / name).is_file()]


def draw(sources: Sequence[Source], heights_px: Sequence[int], rng: np.random.Generator) -> list[Thumbnail]:
    """One thumbnail a height, from sources by chance, everybody once.

    Raises:
        ValueError: No source gives enough people so large.
    """
    drawn: list[Thumbnail] = []
    taken: set[str] = set()
    for height_px in heights_px:
        for _ in range(TRIES):
            thumbnail = sources[int(rng.integers(len(sources)))](rng, height_px)
            if thumbnail is not None and thumbnail.person not in taken:
                drawn.append(thumbnail)
                taken.add(thumbnail.person)
                break
        else:
            raise ValueError(f"no source has enough people {height_px} px high")
    return drawn


def sheet(thumbnails: Sequence[Thumbnail], scale: int = 1) -> Image:
    """All thumbnails with their numbers from 1, ``scale`` times as large."""
    H, W = CELL_PX
    rows = math.ceil(len(thumbnails) / COLUMNS)
    whole = np.full((rows * H * scale, COLUMNS * W * scale, 3), 128, np.uint8)
    for number, thumbnail in enumerate(thumbnails):
        row, column = divmod(number, COLUMNS)
        image = np.repeat(np.repeat(thumbnail.image[:, : W - 4], scale, axis=0), scale, axis=1)
        h, w = image.shape[:2]
        top, left = row * H * scale + 4, column * W * scale + (W * scale - w) // 2
        whole[top : top + h, left : left + w] = image
        place = (column * W * scale + 4, (row + 1) * H * scale - 5)
        cv2.putText(
            whole, str(number + 1), place, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * scale, (255, 255, 255), scale
        )
    return whole


def make(rendered: Sequence[Source], real: Sequence[Source], out: Path, *, each: int, seed: int) -> None:
    """Write ``sheet.png`` (as large as the thumbnails are), ``sheet_large.png`` and, apart from them, ``key.csv``."""
    rng = np.random.default_rng(seed)
    heights_px = np.linspace(LEAST_PX, LARGEST_PX, each).round().astype(int).tolist()
    both = draw(rendered, heights_px, rng) + draw(real, heights_px, rng)
    mixed = [both[place] for place in rng.permutation(len(both))]
    out.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out / "sheet.png"), sheet(mixed))
    cv2.imwrite(str(out / "sheet_large.png"), sheet(mixed, 2))
    with (out / "key.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("number", "kind", "origin"))
        lines.writerows((number, one.kind, one.origin) for number, one in enumerate(mixed, 1))


def read_answers(path: Path) -> dict[int, str]:
    """Lines ``NUMBER real`` or ``NUMBER rendered``, also with a comma; further words and a heading do not matter.

    Raises:
        ValueError: A number stands there twice.
    """
    answers: dict[int, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.match(rf"\s*(\d+)[\s,;:]+({REAL}|{RENDERED})\b", line):
            if int(found[1]) in answers:
                raise ValueError(f"{path}: {found[1]} is answered twice")
            answers[int(found[1])] = found[2]
    return answers


def score(key: dict[int, str], answers: dict[int, str]) -> dict[str, float]:
    """How well the two kinds were told apart; what has no answer does not count.

    ``p`` is the chance to be right so often or more by guessing.
    """
    both = sorted(key.keys() & answers.keys())
    right = sum(key[number] == answers[number] for number in both)
    figures: dict[str, float] = {"judged": len(both), "right %": 100 * right / max(len(both), 1)}
    for kind in (REAL, RENDERED):
        own = [number for number in both if key[number] == kind]
        called = sum(answers[number] == REAL for number in own)
        figures[f"{kind} called real %"] = 100 * called / max(len(own), 1)
    figures["p"] = sum(math.comb(len(both), k) for k in range(right, len(both) + 1)) / 2 ** len(both)
    return figures
