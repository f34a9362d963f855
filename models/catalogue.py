"""Model cards: what a model file is, where it came from, on what terms, and which bytes it must have.

A card is a TOML file beside the model, ``<name>.toml`` for ``<name>.onnx``. Its names are the fields of
`ModelCard`; what only one kind of model needs (how a detector's output is decoded, say) stands in its
``[details]`` table.
"""

import difflib
import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

SHIPPED = Path(__file__).parent
KINDS = ("detector", "embedder", "flow")


class ModelError(RuntimeError):
    """A model cannot be used; the message is one sentence that says what, where and what to do."""


@dataclass(frozen=True)
class ModelCard:
    """What is known of one model file. Text fields are empty where nothing is known."""

    name: str
    kind: str  # detector, embedder or flow
    file: str  # file name, beside the card or in the cache
    sha256: str = ""  # lower-case hex; empty where nobody has measured it
    bytes: int = 0  # size of the file; 0 where unknown
    origin: str = ""  # who made the weights, and from which release
    licence: str = ""  # of the weights
    data: str = ""  # what they were trained on
    data_terms: str = ""  # what the data's own terms ask of a user
    recipe: str = ""  # how to make the file again
    input: str = ""  # what the graph takes: name, type, shape, colour order, range
    output: str = ""  # what it gives
    score: str = ""  # what it must reach, and on what
    url: str = ""  # where ``fetch`` gets it; empty for shipped files
    details: Mapping[str, Any] = field(default_factory=dict)  # what only this kind of model needs

    @property
    def is_shipped(self) -> bool:
        """Whether the file lies in this package."""
        return (SHIPPED / self.file).is_file()


_TEXTS = {f.name for f in fields(ModelCard)} - {"bytes", "details"}


def read_card(path: Path) -> ModelCard:
    """The card in a TOML file. ``name`` and ``file`` default to the card's own stem.

    Raises:
        ModelError: The file is not TOML, or a name in it is unknown, missing or of the wrong type.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ModelError(f"the model card {path} cannot be read: {problem}") from problem
    raw = {"name": path.stem, "file": path.stem + ".onnx"} | raw
    for key, value in raw.items():
        wanted = str if key in _TEXTS else {"bytes": int, "details": dict}.get(key)
        if wanted is None:
            near = difflib.get_close_matches(key, _TEXTS | {"bytes", "details"}, 1)
            hint = (
                f"; did you mean {near[0]}?" if near else "; what only this model needs goes under [details]"
            )
            raise ModelError(f"the model card {path} has an unknown name {key!r}{hint}")
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ModelError(f"the model card {path} needs {key} as {wanted.__name__}, not {value!r}")
    if raw.get("kind") not in KINDS:
        raise ModelError(f"the model card {path} needs kind as one of {', '.join(KINDS)}")
    if Path(raw["file"]).name != raw["file"]:
        raise ModelError(f"the model card {path} needs file as a bare file name, not {raw['file']!r}")
    texts = {key: value.strip() for key, value in raw.items() if key in _TEXTS}
    texts["sha256"] = texts.get("sha256", "").lower()
    return ModelCard(
        bytes=raw.get("bytes", 0), details=MappingProxyType(dict(raw.get("details", {}))), **texts
    )


def cards() -> list[ModelCard]:
    """The cards in this package, by name: models that are shipped, and models that can be fetched."""
    return [read_card(path) for path in sorted(SHIPPED.glob("*.toml"))]


def card(name: str) -> ModelCard:
    """The card of a model that this package knows by name.

    Raises:
        ModelError: No card has this name.
    """
    known = {c.name: c for c in cards()}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else f"known are {', '.join(known)}, or give the path of an .onnx file"
        )
        raise ModelError(f"no model is named {name!r}: {hint}")
    return known[name]


def cache_folder() -> Path:
    """Where fetched models lie: ``$THROUGHLINE_CACHE/models``, by default ``~/.cache/throughline/models``."""
    root = os.environ.get("THROUGHLINE_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "throughline") / "models"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class ModelFile:
    """A model found on this machine. ``card`` is None for a bare .onnx file."""

    name: str
    path: Path
    sha256: str
    card: ModelCard | None


def recorded_hash_file(path: Path) -> Path:
    """Where the hash of a file that was trusted when first fetched is kept: beside it."""
    return path.with_name(path.name + ".sha256")


def locate(name_or_path: str) -> tuple[str, Path, ModelCard | None]:
    """Find a model's file without reading it: (name, path, card or None).

    A text that ends in ``.onnx`` or holds a folder is a path, and the card beside it (``x.toml`` for
    ``x.onnx``) is read when there is one. Anything else is a name: a shipped file, or one that was fetched
    into `cache_folder`.

    Raises:
        ModelError: Nobody knows the name, or the file is not there.
    """
    path = Path(name_or_path)
    if path.suffix == ".onnx" or path.name != name_or_path:
        if not path.is_file():
            raise ModelError(f"no model file at {path}: check the path, or name one of `models list`")
        beside = path.with_suffix(".toml")
        own = read_card(beside) if beside.is_file() else None
        return (own.name if own else path.stem), path, own
    own = card(name_or_path)
    for folder in (SHIPPED, cache_folder()):
        if (folder / own.file).is_file():
            return own.name, folder / own.file, own
    if own.url:
        raise ModelError(
            f"the model {own.name} is not on this machine: get it with `models fetch {own.name}`"
        )
    raise ModelError(f"the model {own.name} has no file at {SHIPPED / own.file}: reinstall the package")


def find(name_or_path: str) -> ModelFile:
    """Find a model's file and check its bytes against its card.

    Raises:
        ModelError: As `locate`, or the file's hash is not the one on the card.
    """
    name, path, own = locate(name_or_path)
    found = sha256_of(path)
    recorded = recorded_hash_file(path)
    wanted, says = (own.sha256, "its card says") if own else ("", "")
    if not wanted and recorded.is_file():
        wanted, says = recorded.read_text(encoding="ascii").split(maxsplit=1)[0], "it had when it was fetched"
    if wanted and found != wanted:
        remedy = (
            f"fetch it again with `models fetch {name}`"
            if own and own.url
            else "restore the file or its card"
        )
        raise ModelError(
            f"the model file {path} has SHA-256 {found[:12]}..., not the {wanted[:12]}... {says}: {remedy}"
        )
    return ModelFile(name, path, found, own)


def verify(name_or_path: str) -> str:
    """``"ok"`` when the model is here with the bytes its card promises, else a sentence that says why not."""
    try:
        found = find(name_or_path)
    except ModelError as problem:
        return str(problem)
    size = found.path.stat().st_size
    if found.card and found.card.bytes and size != found.card.bytes:
        return f"the model file {found.path} has {size} bytes, but its card says {found.card.bytes}"
    return "ok"
