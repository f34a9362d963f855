"""Labelled crops from folders and zips: research sets such as Market-1501, and pictures of one's own.

How the names of the files say who is on a picture is its *layout*, see `LAYOUTS`. A zip is read in place and
never unpacked. Decoding happens once where a cache is given, and is memory-mapped afterwards.

The research sets are for research use and never part of this project: `load` takes the folder that holds
``market1501/``, ``cuhk03/``, ``cuhk01/`` and ``pku/``.
"""

import contextlib
import hashlib
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from reid.pictures import HEIGHT, LARGEST_BYTES, WIDTH, decode, read_picture, to_input

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
UNKNOWN = -1  # the id of a picture of nobody knows whom, and the camera of one from nobody knows where
MARKET_NAME = re.compile(r"(-1|\d{1,9})_c(\d{1,9})(s\d+)?_")
MARKET_FOLDERS = {"bounding_box_train", "bounding_box_test", "query", "gt_bbox", "gt_query"}


@dataclass(frozen=True)
class Pictures:
    """N labelled crops, as columns of equal length, and what their numbers stand for."""

    crops: NDArray[np.uint8]  # (N, H, W, 3) BGR
    ids: NDArray[np.int64]  # (N,) who, within the set
    cameras: NDArray[np.int64]  # (N,) seen by which camera, within the set
    nobody: int | None = None  # the id of pictures that show no known person: in galleries, never trained on
    people: tuple[str, ...] = ()  # id k is called people[k]; empty where the ids are the set's own numbers
    camera_names: tuple[str, ...] = ()  # the same for cameras
    files: tuple[str, ...] = ()  # (N,) where each crop was read; empty where that is not known

    def __post_init__(self) -> None:
        if not len(self.crops) == len(self.ids) == len(self.cameras):
            raise ValueError(f"{len(self.crops)} crops, {len(self.ids)} ids, {len(self.cameras)} cameras")
        if self.files and len(self.files) != len(self.ids):
            raise ValueError(f"{len(self.files)} files, {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, keep: NDArray[np.generic]) -> "Pictures":
        """The rows chosen by a mask or an index array."""
        files = tuple(self.files[row] for row in np.arange(len(self))[keep]) if self.files else ()
        return replace(
            self, crops=self.crops[keep], ids=self.ids[keep], cameras=self.cameras[keep], files=files
        )

    def identities(self) -> NDArray[np.int64]:
        """The ids of known people, each once, in order."""
        found = np.unique(self.ids)
        return found if self.nobody is None else found[found != self.nobody]

    def name(self, person: int) -> str:
        """What the set calls the person with this id."""
        return self.people[person] if self.people and person != self.nobody else str(person)


Label = tuple[int, int] | tuple[str, str]  # who, seen by which camera; a camera "" is not known


@dataclass(frozen=True)
class Layout:
    """How the place and name of a file say who is on it."""

    label: Callable[[PurePosixPath], Label | None]  # path below the folder or in the zip; None: left out
    says: str  # for messages
    nobody: int | None = None  # the id of pictures that show no known person


def market_label(path: PurePosixPath) -> tuple[int, int] | None:
    """``0002_c1s1_000451_03.jpg``: person 2, camera 1. Junk (-1) is left out, as the protocol ignores it."""
    found = MARKET_NAME.match(path.name)
    return (int(found[1]), int(found[2])) if found and found[1] != "-1" else None


def cuhk03_label(path: PurePosixPath) -> tuple[int, int] | None:
    """``1000_07.jpg``: person 1000; pictures 0 to 4 are of camera 1, 5 to 9 of camera 2."""
    found = re.fullmatch(r"(\d{1,9})_(\d\d)", path.stem)
    return (int(found[1]), 1 if int(found[2]) < 5 else 2) if found else None


def cuhk01_label(path: PurePosixPath) -> tuple[int, int] | None:
    """``0971003.jpg``: person 971; pictures 1 and 2 are of camera 1, 3 and 4 of camera 2."""
    found = re.fullmatch(r"(\d{4})(\d{3})", path.stem)
    return (int(found[1]), 1 if int(found[2]) < 3 else 2) if found else None


def pku_label(path: PurePosixPath) -> tuple[int, int] | None:
    """``data/train/001/02_5.png``: person 1, camera 2, body orientation 5."""
    found = re.fullmatch(r"(\d{1,9})/(\d\d)_\d", f"{path.parent.name}/{path.stem}")
    return (int(found[1]), int(found[2])) if found else None


def folder_label(path: PurePosixPath) -> tuple[str, str] | None:
    """``alice/hall_0001.jpg``: person alice, camera hall; ``alice/0001.jpg`` is of a camera not known."""
    camera, underscore, _ = path.stem.partition("_")
    return (path.parent.name, camera if underscore else "") if path.parent.name else None


def no_label(path: PurePosixPath) -> tuple[int, int]:
    """Any picture: nobody knows whom it shows."""
    return UNKNOWN, UNKNOWN


LAYOUTS = {
    "market1501": Layout(market_label, "PPPP_cCsS_FFFFFF_BB.jpg", nobody=0),  # 0000: distractors
    "cuhk01": Layout(cuhk01_label, "PPPPNNN.jpg"),
    "cuhk03": Layout(cuhk03_label, "PPPP_NN.jpg"),
    "pku": Layout(pku_label, "PPP/CC_O.png"),
    "folders": Layout(folder_label, "PERSON/CAMERA_NUMBER.jpg"),
    "flat": Layout(no_label, "ANY.jpg", nobody=UNKNOWN),
}


@dataclass(frozen=True)
class Part:
    """Where one part of a research set lies, and its layout."""

    file: str  # zip, below the data folder
    layout: str


PARTS = {
    "market1501_train": Part("market1501/bounding_box_train.zip", "market1501"),
    "market1501_query": Part("market1501/query.zip", "market1501"),
    "market1501_gallery": Part("market1501/bounding_box_test.zip", "market1501"),
    "cuhk03": Part("cuhk03/labeled_train_743ids.zip", "cuhk03"),
    "cuhk01": Part("cuhk01/cuhk01_jpeg88.zip", "cuhk01"),
    "pku": Part("pku/pku_reid_74ids.zip", "pku"),
}
# What was trained on these could not be measured with them any more.
TESTS_ONLY = ("market1501_query", "market1501_gallery", "pku")


def load(folder: Path, part: str, cache: Path | None = None) -> Pictures:
    """Read one part of `PARTS`, as `read` does.

    The sets lie in ``folder``, or in its ``reid/`` where it has one.

    Raises:
        FileNotFoundError: The part's zip is not there.
        ValueError: There is no such part, or it holds no picture with a label, or one that cannot be read.
    """
    if part not in PARTS:
        raise ValueError(f"no data set is called {part!r}: choose from {', '.join(PARTS)}")
    inside = folder / "reid"
    source = (inside if inside.is_dir() else folder) / PARTS[part].file
    if not source.is_file():
        raise FileNotFoundError(f"no data set at {source}: give the folder that holds {PARTS[part].file}")
    return read(source, PARTS[part].layout, cache=cache)


def find(name: str, folder: Path | None) -> Path:
    """Where a set of one's own lies: at the path ``name`` or, where nothing is, in ``folder``."""
    path = Path(name)
    return path if folder is None or path.exists() or not (folder / path).exists() else folder / path


def read(
    path: Path, layout: str = "auto", size: tuple[int, int] = (HEIGHT, WIDTH), *, cache: Path | None = None
) -> Pictures:
    """Read all pictures of a folder, with its subfolders, or of a zip, in the order of their names.

    Names of people and cameras become numbers in sorted order, from 0; numbers in names stay as they are. Files
    that are no pictures by their suffix, hidden ones, and pictures that the layout leaves out are passed over.

    Args:
        path: The folder or zip.
        layout: One of `LAYOUTS`, or ``auto``: ``market1501`` by the names of the files, else ``folders`` where
            every picture lies in a subfolder, and ``flat`` where none does.
        size: (height, width) in pixels of the answered crops.
        cache: Folder for decoded crops, made where missing. They are used again, memory-mapped, as long as the
            source is unchanged: a folder by the sizes and times of its pictures, a zip by their checksums.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        ValueError: It is neither folder nor zip or damaged, has no picture with a label, has one that cannot be
            read (the message names it), or its layout cannot be told.
    """
    with _open(Path(path)) as source:
        if layout == "auto":
            layout = _layout_of(source)
        if layout not in LAYOUTS:
            raise ValueError(f"no layout is called {layout!r}: choose from auto, {', '.join(LAYOUTS)}")
        if cache is None:
            labels = _labels(source, layout)
            crops = np.empty((len(labels.ids), *size, 3), np.uint8)
            for row, name in enumerate(labels.files):
                crops[row] = to_input(source.picture(name), size)
            return _pictures(crops, labels)
        # Whatever may change the crops or labels is part of the name, so that no other source's are ever found.
        key = hashlib.sha256(repr((1, layout, size, source.stamp)).encode()).hexdigest()[:24]
        kept = cache / f"{source.path.stem}-{key}"
        if not kept.is_dir():
            _keep(source, _labels(source, layout), size, kept)
        return _kept(kept)


# --- folders and zips


@dataclass(frozen=True)
class _Source:
    """The pictures of a folder or a zip."""

    path: Path
    names: Sequence[str]  # of the pictures, sorted, with / between folders
    stamp: Sequence[object]  # changes when a picture does
    picture: Callable[[str], NDArray[np.uint8]]


@contextlib.contextmanager
def _open(path: Path) -> Iterator[_Source]:
    if not path.exists():
        raise FileNotFoundError(f"no such folder or zip of pictures: {path}")
    if path.is_dir():
        yield _open_folder(path)
        return
    if path.suffix.lower() != ".zip" and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither a folder nor a zip of pictures")
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
        except (zipfile.BadZipFile, OSError) as problem:
            raise ValueError(f"{path} is not a zip that can be read: {problem}") from problem
        names = sorted({name for name in archive.namelist() if _is_picture(name)})
        stamp = [(name, archive.getinfo(name).CRC) for name in names]
        yield _Source(path, names, stamp, lambda name: _unzip(archive, name))


def _open_folder(path: Path) -> _Source:
    names = sorted(
        name
        for one in path.rglob("*")
        if _is_picture(name := one.relative_to(path).as_posix()) and one.is_file()
    )
    abouts = [(name, (path / name).stat()) for name in names]
    stamp = [(name, about.st_size, about.st_mtime_ns) for name, about in abouts]
    return _Source(path, names, stamp, lambda name: read_picture(path / name))


def _is_picture(name: str) -> bool:
    hidden = name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name
    return name.lower().endswith(SUFFIXES) and not hidden


def _unzip(archive: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    place = f"{archive.filename}: {name}"
    if archive.getinfo(name).file_size > LARGEST_BYTES:
        raise ValueError(f"{place} has more than {LARGEST_BYTES >> 20} MiB: not a picture of a person")
    try:
        data = archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as problem:
        raise ValueError(f"{place} cannot be read: {problem}") from problem
    return decode(data, place)


# --- labels


@dataclass(frozen=True)
class _Labels:
    """All of `Pictures` but the crops."""

    ids: list[int]
    cameras: list[int]
    nobody: int | None
    people: list[str]
    camera_names: list[str]
    files: list[str]


def _layout_of(source: _Source) -> str:
    paths = [PurePosixPath(name) for name in source.names]
    if paths and all(MARKET_NAME.match(path.name) for path in paths):
        return "market1501"
    nested = sum(len(path.parts) > 1 for path in paths)
    if 0 < nested < len(paths):
        raise ValueError(
            f"the layout of {source.path} cannot be told: {nested} of {len(paths)} pictures lie in subfolders; "
            f"name a layout of {', '.join(LAYOUTS)}"
        )
    return "folders" if nested else "flat"


def _labels(source: _Source, layout: str) -> _Labels:
    wanted = [
        (name, found)
        for name in source.names
        if (found := LAYOUTS[layout].label(PurePosixPath(name))) is not None
    ]
    if not source.names:
        raise ValueError(f"{source.path} holds no picture ({', '.join(SUFFIXES)})")
    if not wanted:
        raise ValueError(
            f"{source.path} holds no picture whose name tells who is on it, "
            f"as {LAYOUTS[layout].says} does in the layout {layout}"
        )
    if layout == "market1501":
        _refuse_several_parts(source)
    ids, people = _numbered([found[0] for _, found in wanted])
    cameras, camera_names = _numbered([found[1] for _, found in wanted])
    return _Labels(ids, cameras, LAYOUTS[layout].nobody, people, camera_names, [name for name, _ in wanted])


def _refuse_several_parts(source: _Source) -> None:
    parts = {part for name in source.names for part in PurePosixPath(name).parts[:-1]} & MARKET_FOLDERS
    if len(parts) > 1:
        raise ValueError(
            f"{source.path} holds {' and '.join(sorted(parts))}, which must not be mixed: give one of them"
        )


def _numbered(values: Sequence[int | str]) -> tuple[list[int], list[str]]:
    """Names as places in the sorted list of them, "" as `UNKNOWN`; numbers stay, and have no names."""
    names = sorted({value for value in values if isinstance(value, str) and value})
    places = {"": UNKNOWN} | {name: place for place, name in enumerate(names)}
    return [places[value] if isinstance(value, str) else value for value in values], names


# --- crops, and where they are kept


def _pictures(crops: NDArray[np.uint8], labels: _Labels) -> Pictures:
    return Pictures(
        crops,
        np.array(labels.ids, np.int64),
        np.array(labels.cameras, np.int64),
        labels.nobody,
        tuple(labels.people),
        tuple(labels.camera_names),
        tuple(labels.files),
    )


def _keep(source: _Source, labels: _Labels, size: tuple[int, int], kept: Path) -> None:
    """Decode into the folder ``kept``, which appears whole or not at all."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=kept.parent) as made:
        unfinished = Path(made) / "whole"
        unfinished.mkdir()
        with (unfinished / "crops.npy").open(
            "wb"
        ) as file:  # row by row: the set may be larger than the memory
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels.ids), *size, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            for name in labels.files:
                file.write(to_input(source.picture(name), size).tobytes())
        (unfinished / "labels.json").write_text(json.dumps(vars(labels)), encoding="utf-8")
        try:
            unfinished.rename(kept)
        except OSError:
            if not kept.is_dir():  # else somebody else was faster, and theirs is the same
                raise


def _kept(kept: Path) -> Pictures:
    labels = _Labels(**json.loads((kept / "labels.json").read_text(encoding="utf-8")))
    return _pictures(np.load(kept / "crops.npy", mmap_mode="r"), labels)


# --- what may be asked of a set, and sets made of sets


def require_people(pictures: Pictures, least: int, name: str = "the set") -> None:
    """Refuse a set with too few people to tell apart.

    Raises:
        ValueError: Fewer than ``least`` known people; the message begins with ``name``.
    """
    found = pictures.identities()
    if len(found) < least:
        who = f" ({', '.join(pictures.name(int(person)) for person in found[:3])})" if len(found) else ""
        raise ValueError(
            f"{name} shows too few known people: {len(found)}{who}, and at least {least} are needed; "
            "label pictures by one folder a person, or name the layout"
        )


def require_cameras(pictures: Pictures, least: int, name: str = "the set") -> None:
    """Refuse a set that does not say which cameras saw its pictures, or comes from too few.

    Raises:
        ValueError: A picture without a camera (the first is named), or fewer than ``least`` cameras; the message
            begins with ``name``.
    """
    lost = np.flatnonzero(pictures.cameras == UNKNOWN)
    if len(lost):
        example = f", such as {pictures.files[lost[0]]}" if pictures.files else ""
        raise ValueError(
            f"{name} has {len(lost)} pictures that name no camera{example}: "
            "call them CAMERA_NUMBER, as in hall_0001.jpg"
        )
    found = len(np.unique(pictures.cameras))
    if found < least:
        raise ValueError(f"{name} comes from {found} cameras, and at least {least} are needed")


def join(sets: list[Pictures]) -> tuple[Pictures, NDArray[np.int64]]:
    """Several sets as one, ids renumbered 0..P-1 so that nobody is in two sets; and each row's set number.

    Pictures of nobody known are left out: the distractors of all sets are not one person.

    Raises:
        ValueError: There is no set, one without a known person, or their crops differ in size.
    """
    if not sets:
        raise ValueError("no set of pictures to join")
    if len(sizes := {one.crops.shape[1:] for one in sets}) > 1:
        raise ValueError(f"sets of crops of different sizes cannot be joined: {sorted(sizes)}")
    known = [one if one.nobody is None else one.where(one.ids != one.nobody) for one in sets]
    ids, next_id = [], 0
    for number, one in enumerate(known):
        require_people(one, 1, f"set {number}")
        _, numbered = np.unique(one.ids, return_inverse=True)
        ids.append(numbered + next_id)
        next_id += int(numbered.max()) + 1
    origin = np.repeat(np.arange(len(known)), [len(one) for one in known])
    crops = np.concatenate([one.crops for one in known])
    return Pictures(crops, np.concatenate(ids), np.concatenate([one.cameras for one in known])), origin


def hold_out(pictures: Pictures, people: int, rng: np.random.Generator) -> tuple[Pictures, Pictures]:
    """Split by person: (everybody else, ``people`` drawn by ``rng``).

    Raises:
        ValueError: There are not so many known people.
    """
    require_people(pictures, people)
    drawn = rng.choice(pictures.identities(), people, replace=False)
    held = np.isin(pictures.ids, drawn)
    return pictures.where(~held), pictures.where(held)
