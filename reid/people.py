"""Who is on this picture? Persons enrolled from a few crops, two pictures compared, a folder searched; no training.

The answers are of an open set: "nobody I know" and "I cannot tell" are among them. Embeddings tell who somebody is,
so the file that holds them is readable by its owner alone, and a person who is forgotten is gone from it.
"""

import contextlib
import glob
import itertools
import os
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.calibrate import PairCalibration
from reid.datasets import SUFFIXES
from reid.gallery import distances, select_diverse, set_distance
from reid.pictures import read_picture, to_input

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Answer = Literal["yes", "no", "unsure"]
# Below it a pair is of two persons, whatever the wanted rate of false accepts: at most one in twenty is not.
NO_BELOW = 0.05
ROWS_PER_PERSON = 32
BATCH = 32
FORMAT = 1
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError)  # of an archive


class Embedder(Protocol):
    """What is needed of `reid.embedder.OnnxEmbedder`."""

    name: str
    model_hash: str
    dim: int
    size: tuple[int, int]  # height and width of the pictures that it looks at

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(N, D) unit rows of N crops."""


# --- pictures


def is_wide(crop: NDArray[np.uint8]) -> bool:
    """Whether a picture is so wide that it can hardly be a crop of one standing person."""
    height, width = crop.shape[:2]
    return width >= 1.3 * height  # a whole 4:3 frame counts as wide


def pictures_in(folder: Path) -> list[Path]:
    """All picture files in a folder and the folders in it, by name; hidden ones are left out.

    Raises:
        FileNotFoundError: It is no folder.
        ValueError: There is no picture in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    seen = [path for path in inside if not any(part.startswith(".") for part in path.parts)]
    files = [folder / path for path in sorted(seen) if (folder / path).is_file()]
    if not files:
        raise ValueError(f"{folder} holds no picture ({', '.join(SUFFIXES)})")
    return files


# --- judging


@dataclass(frozen=True)
class Judgement:
    """What a distance says. Without a calibration there is no answer, and no number but the distance."""

    distance: float  # 1 - cosine, in [0, 2]
    probability: float | None = None  # that both show one person, where both cases are as likely beforehand
    answer: Answer | None = None
    accepted_to: float | None = None  # the largest distance that is a yes at the wanted rate


def judge(distance: float, calibration: PairCalibration | None, rate: float) -> Judgement:
    """Yes, no or unsure.

    Yes up to the threshold that lets ``rate`` of the pairs of two persons pass; beyond it no where the probability
    of one person is under `NO_BELOW`, and unsure between the two.

    Args:
        distance: In [0, 2].
        calibration: Of the model that made the rows; None where its card has none.
        rate: Accepted share of false yeses among pairs of two persons.

    Raises:
        ValueError: The calibration has no threshold for this rate.
    """
    if calibration is None:
        return Judgement(distance)
    accepted_to = calibration.threshold(rate)
    probability = float(calibration.probability(distance))
    if distance <= accepted_to:
        answer: Answer = "yes"
    else:
        answer = "no" if probability < NO_BELOW else "unsure"
    return Judgement(distance, probability, answer, accepted_to)


# --- people


def same_name(name: str) -> str:
    """A name as it is kept: however a keyboard or file name composed its accents, and without blanks around it.

    Raises:
        ValueError: The name is empty or not printable.
    """
    plain = unicodedata.normalize("NFC", name).strip()
    if not plain or not plain.isprintable():
        raise ValueError(f"a person needs a name of printable characters, not {name!r}")
    return plain


@dataclass(frozen=True)
class People:
    """Rows of persons by name, all made by one model."""

    names: tuple[str, ...]  # (K,) whose each row is
    embeddings: NDArray[np.float32]  # (K, D) unit rows
    model: str  # its name
    model_hash: str  # SHA-256 of its file

    @classmethod
    def nobody(cls, embedder: Embedder) -> "People":
        """Room for what this embedder will make."""
        return cls((), np.zeros((0, embedder.dim), np.float32), embedder.name, embedder.model_hash)

    def counts(self) -> dict[str, int]:
        """How many rows each person has, by name in alphabetical order."""
        return {name: self.names.count(name) for name in sorted(set(self.names))}

    def rows(self, name: str) -> NDArray[np.float32]:
        """(R, D) the rows of one person, the oldest first; (0, D) for somebody unknown."""
        return self.embeddings[np.array([own == name for own in self.names], bool)]

    def with_person(self, name: str, rows: NDArray[np.float32]) -> "People":
        """With (R, D) more rows of a person, new or known.

        Copies are not kept, and of more than `ROWS_PER_PERSON` those that differ most from each other are.

        Raises:
            ValueError: The name is empty or not printable.
        """
        name = same_name(name)
        own = np.concatenate([self.rows(name), rows])
        own = own[np.sort(select_diverse(own, np.ones(len(own)), ROWS_PER_PERSON))]
        others = self._others(name)
        return replace(
            others,
            names=(*others.names, *itertools.repeat(name, len(own))),
            embeddings=np.concatenate([others.embeddings, own]),
        )

    def without(self, name: str) -> "People":
        """Without a person's rows.

        Raises:
            ValueError: Nobody of this name is enrolled.
        """
        name = same_name(name)
        if name not in self.names:
            known = ", ".join(self.counts()) or "nobody"
            raise ValueError(f"nobody called {name!r} is enrolled (enrolled: {known})")
        return self._others(name)

    def _others(self, name: str) -> "People":
        keep = [own != name for own in self.names]
        return replace(
            self,
            names=tuple(own for own in self.names if own != name),
            embeddings=self.embeddings[np.array(keep, bool)],
        )

    def check_made_by(self, embedder: Embedder) -> None:
        """Rows of two models cannot be compared.

        Raises:
            ValueError: Another model made these rows.
        """
        if self.model_hash != embedder.model_hash:
            raise ValueError(
                f"these people were enrolled with the model {self.model} ({self.model_hash[:12]}...), whose rows "
                f"{embedder.name} ({embedder.model_hash[:12]}...) cannot be compared with: name that model, or "
                "enrol them anew"
            )

    def judge(
        self, row: NDArray[np.float32], calibration: PairCalibration | None, rate: float
    ) -> list[tuple[str, Judgement]]:
        """How likely (D,) a row is each of the people, the likeliest first.

        The distance to a person is `reid.gallery.set_distance` to the rows. The lower quartile of several rows is
        nearer than one row alone is, for strangers too, so several rows are held to the threshold of half the rate.
        Measured with an earlier network on 100 people of Market-1501 that it was trained on, enrolled with 2 to 8 rows
        of other cameras: at the threshold of a pair 1.3 to 2.1 times as many strangers pass as are wanted, at that of
        half the rate 0.6 to 1.1 times. At 0.001, 4 rows recognise 90 % where one row recognises 75 %.

        Args:
            row: The picture asked about.
            calibration: As for the function `judge`.
            rate: How often a stranger may be taken for any *one* of the people.

        Raises:
            ValueError: The calibration has no threshold for this rate or its half.
        """
        found = []
        for name, count in self.counts().items():
            far = set_distance(row[None], self.rows(name))
            try:
                found.append((name, judge(far, calibration, rate if count == 1 else rate / 2.0)))
            except ValueError as problem:
                held = f" (the {count} rows of {name} are held to half the rate)" if count > 1 else ""
                raise ValueError(f"{problem}{held}") from problem
        return sorted(found, key=lambda one: (one[1].distance, one[0]))


def read_people(path: Path) -> People:
    """The people in a file that `write_people` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is another kind of file.
    """
    try:
        with path.open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as held:
            if int(held["format"]) != FORMAT:
                raise ValueError(f"its format is {int(held['format'])}, not {FORMAT}")
            people = People(
                tuple(map(same_name, held["names"].tolist())),
                np.asarray(held["embeddings"], np.float32),
                str(held["model"]),
                str(held["model_hash"]),
            )
    except (*_DAMAGE, ValueError, TypeError, KeyError, MemoryError) as problem:
        raise ValueError(f"{path} is not a file of enrolled people: {problem}") from problem
    rows = people.embeddings
    if rows.ndim != 2 or len(people.names) != len(rows) or not np.isfinite(rows).all():
        raise ValueError(f"{path} is not a file of enrolled people: its names and rows do not fit together")
    return people


def write_people(path: Path, people: People) -> None:
    """Write the file, whole or not at all, for its owner alone to read (mode 0600).

    A link is followed: otherwise the file behind it would keep whom this one forgets.
    """
    path = path.resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}")
    partial: Path | None = None
    try:
        # Made with mode 0600 from the start, so that there is no moment in which others could read it.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.part-", delete=False) as out:
            partial = Path(out.name)
            np.savez(
                out,
                format=np.array(FORMAT),
                names=np.array(people.names, np.str_),
                embeddings=people.embeddings,
                model=np.array(people.model),
                model_hash=np.array(people.model_hash),
            )
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, path)
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def change_people(path: Path, change: Callable[[People], People], *, start: People | None = None) -> People:
    """Read the file, change what is in it and write it again, while nobody else does the same.

    Args:
        path: The file. An empty file ``.NAME.lock`` stays beside it.
        change: From the people in the file to those who shall be. What it raises is passed on, and the file stays as
            it was.
        start: What is changed where there is no file yet; None: there must be one.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: There is no such file, or no folder for it.
        ValueError: It is another kind of file.
    """
    path = path.resolve()
    if start is None:
        path.stat()
    with _alone(path):
        known = start if start is not None and not path.exists() else read_people(path)
        people = change(known)
        write_people(path, people)
        # What a process that was killed while writing left behind may hold whom this one forgets.
        for torn in path.parent.glob(f".{glob.escape(path.name)}.part-*"):
            torn.unlink()
    return people


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process changes the file. Where there are no such locks (Windows), nobody waits."""
    if fcntl is None:
        yield
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}")
    lock = os.open(path.parent / f".{path.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, should it die
        yield
    finally:
        os.close(lock)


# --- searching


@dataclass(frozen=True)
class Found:
    """One picture of a search."""

    path: Path
    judgement: Judgement


@dataclass(frozen=True)
class SearchResult:
    """The nearest pictures, and what could not be looked at."""

    found: list[Found]  # nearest first
    searched: int  # how many pictures were compared
    unreadable: list[str]  # why, one sentence each


def search(
    query: NDArray[np.uint8],
    folder: Path,
    embedder: Embedder,
    calibration: PairCalibration | None,
    *,
    rate: float,
    top: int = 10,
    leave_out: Path | None = None,
    progress: Callable[[Iterable[Path]], Iterable[Path]] = iter,
) -> SearchResult:
    """Which pictures below a folder look most like a crop.

    Args:
        query: (h, w, 3) uint8 BGR.
        folder: Looked through with all folders in it.
        embedder: Embeds the pictures, a few at a time: a folder may be larger than the memory.
        calibration: Of that embedder, or None.
        rate: Accepted share of false yeses; see `judge`.
        top: How many to answer at most.
        leave_out: The query's own file, which would only find itself.
        progress: Goes round the list of files, as ``tqdm`` does.

    Raises:
        FileNotFoundError: The folder is not there.
        ValueError: No other picture in the folder can be read.
    """
    row = embedder.embed([query])
    files = [path for path in pictures_in(folder) if leave_out is None or not path.samefile(leave_out)]
    paths: list[Path] = []
    far: list[NDArray[np.float32]] = []
    unreadable: list[str] = []
    waiting: list[NDArray[np.uint8]] = []

    def compare() -> None:
        far.append(distances(row, embedder.embed(waiting))[0])
        waiting.clear()

    for path in progress(files):
        try:
            # As small as the embedder would make it: large pictures shall not wait together in memory.
            waiting.append(to_input(read_picture(path), embedder.size))
        except (ValueError, OSError) as problem:
            unreadable.append(str(problem))
            continue
        paths.append(path)
        if len(waiting) == BATCH:
            compare()
    if waiting:
        compare()
    if not paths:
        raise ValueError(
            f"{folder} holds no picture to compare with, besides {len(unreadable)} that cannot be read"
        )
    everything = np.concatenate(far)
    nearest = np.argsort(everything, kind="stable")[:top]
    found = [Found(paths[k], judge(float(everything[k]), calibration, rate)) for k in nearest]
    return SearchResult(found, len(paths), unreadable)


# --- contact sheet

TILE_WIDTH, TILE_HEIGHT, CAPTION, MARGIN, COLUMNS = 120, 240, 44, 10, 6
INK, PAPER = (40, 40, 40), (255, 255, 255)
FRAMES: dict[Answer | None, tuple[int, int, int]] = {  # BGR
    "yes": (90, 160, 40),
    "unsure": (40, 170, 230),
    "no": (190, 190, 190),
    None: (190, 190, 190),
}
QUERY_FRAME = (200, 90, 30)


def contact_sheet(query: NDArray[np.uint8], found: Sequence[Found]) -> NDArray[np.uint8]:
    """The query in a blue frame, then the pictures by rank with distance and probability: (H, W, 3) uint8 BGR.

    A yes has a green frame, an unsure one an amber one.
    """
    tiles = [_tile(query, QUERY_FRAME, ("query", ""))]
    for rank, one in enumerate(found, 1):
        said = one.judgement
        likely = "" if said.probability is None else f"P {said.probability:.3f}"
        tiles.append(
            _tile(read_picture(one.path), FRAMES[said.answer], (f"#{rank}  d {said.distance:.3f}", likely))
        )
    blank = np.full_like(tiles[0], 255)
    columns = min(COLUMNS, len(tiles))
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _tile(
    crop: NDArray[np.uint8], frame: tuple[int, int, int], caption: tuple[str, str]
) -> NDArray[np.uint8]:
    """One picture, its aspect kept, with a frame round it and two lines below."""
    tile = np.full((TILE_HEIGHT + CAPTION + MARGIN, TILE_WIDTH + MARGIN, 3), PAPER, np.uint8)
    height, width = crop.shape[:2]
    scale = min(TILE_WIDTH / width, TILE_HEIGHT / height)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    left, top = (MARGIN + TILE_WIDTH - size[0]) // 2, (MARGIN + TILE_HEIGHT - size[1]) // 2
    tile[top : top + size[1], left : left + size[0]] = cv2.resize(crop, size, interpolation=how)
    cv2.rectangle(tile, (left - 3, top - 3), (left + size[0] + 2, top + size[1] + 2), frame, 3)
    for line, text in enumerate(caption):
        place = (MARGIN, TILE_HEIGHT + MARGIN + 18 * (line + 1))
        cv2.putText(tile, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    return tile


def check_picture_path(path: Path) -> None:
    """Say beforehand what `write_picture` would say after the work is done.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The ending is of no format that can be written.
    """
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp"):
        raise ValueError(f"{path}: name a picture that ends in .jpg, .png or .webp")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}")


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture; the ending of the name says in which format. Raises as `check_picture_path`."""
    check_picture_path(path)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
