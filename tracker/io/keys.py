"""Who may connect, and for what: CURVE keys in a folder, each with its role.

    keys/linker.key  linker.key_secret   the linker's own pair
    keys/client.key  client.key_secret   a pair for the linker's own machine
    keys/allowed/NAME.key                public keys of those who may connect, each with its role
    keys/operators/NAME.key              where this folder is there: which keys without a role may command
    keys/NAME/                           what ``new`` made for NAME: to be moved to its machine

``NAME.key`` is public, ``NAME.key_secret`` is readable by its owner alone, folders are their owner's too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import zmq
import zmq.auth

from tracker.errors import UserError

log = logging.getLogger(__name__)

Role = Literal["worker", "subscriber", "operator"]
Right = Literal["ingest", "events", "replay", "boxes", "command"]  # a socket to connect to; to say who is who
ROLES: tuple[Role, ...] = get_args(Role)
RIGHTS: Mapping[str, frozenset[Right]] = {
    "worker": frozenset(("ingest", "boxes")),  # acknowledgements come with the boxes
    "subscriber": frozenset(("events", "replay", "boxes")),
    "operator": frozenset(("events", "replay", "boxes", "command")),
}
_ALL: frozenset[Right] = frozenset(get_args(Right))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ROLE = re.compile(r"^[ \t]*role\b(.*)$", re.MULTILINE | re.IGNORECASE)  # the whole line, whatever it says
_RESERVED = ("allowed", "operators", "linker", "client")


@dataclass(frozen=True)
class Key:
    """One public key that may connect."""

    name: str  # of its file
    public: str
    role: str | None  # None: made without one; may do everything, commands as ``operators/`` says
    rights: frozenset[Right]


def make_keys(folder: Path) -> None:
    """Make the CURVE keys of a site: one pair for the linker, one without a role for whatever runs beside it.

    Raises:
        UserError: keys are there already, or the folder cannot be written.
    """
    if any(folder.glob("*.key*")):
        raise UserError(f"{folder}: holds keys already; give another folder, or remove them to make new ones")
    with _writing(folder):
        (folder / "allowed").mkdir(parents=True, exist_ok=True)
        for name in ("linker", "client"):
            zmq.auth.create_certificates(folder, name)
        _write(folder / "allowed" / "client.key", (folder / "client.key").read_bytes())


def new_key(folder: Path, name: str, role: Role) -> Path:
    """Let one more in: a pair of its own in ``folder/NAME``, with the linker's public key, to be moved to its machine.

    A running linker knows the key within a second. Where there are no keys yet, the linker's are made first.

    Raises:
        UserError: no such name can be given, it is taken, or the folder cannot be written.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise UserError(
            f"{name}: is no name for a key; letters, digits, '.', '_' and '-', 64 at most, and none of "
            f"{', '.join(_RESERVED)}"
        )
    if not (folder / "linker.key").exists():
        make_keys(folder)
    theirs, allowed = folder / name, folder / "allowed" / f"{name}.key"
    if theirs.exists() or allowed.exists():
        raise UserError(f"{name}: has a key already; revoke it first, or give another name")
    with _writing(folder):
        theirs.mkdir()
        zmq.auth.create_certificates(theirs, "client")
        _write(theirs / "linker.key", (folder / "linker.key").read_bytes())
        text = (theirs / "client.key").read_text(encoding="utf-8")
        allowed.parent.mkdir(exist_ok=True)
        _write(allowed, text.replace("metadata\n", f'metadata\n    role = "{role}"\n').encode())
    return theirs


def known_keys(folder: Path, *, skip_broken: bool = False) -> list[Key]:
    """All that may connect, by name. Raises UserError when one of them cannot be read, unless such are left out."""
    operators = folder / "operators"
    named = None
    if operators.is_dir():
        named = {public for _, public, _ in _read_all(operators, skip_broken)}
    keys = []
    for name, public, role in _read_all(folder / "allowed", skip_broken):
        if role is None:
            rights = _ALL if named is None or public in named else _ALL - {"command"}
        else:
            rights = RIGHTS.get(role, frozenset[Right]())
        if not rights:
            log.warning(
                "%s: %r is no role, so its key opens nothing; there are %s", name, role, ", ".join(ROLES)
            )
        keys.append(Key(name, public, role, rights))
    return keys


def revoke_key(folder: Path, name: str) -> None:
    """Shut somebody out for good; a running linker does so within a second.

    Raises:
        UserError: nobody of that name may connect, or the folder cannot be written.
    """
    path = folder / "allowed" / f"{name}.key"
    if not _NAME.fullmatch(name) or not path.is_file():
        names = ", ".join(path.stem for path in _key_files(folder / "allowed")) or "nobody"
        raise UserError(f"{name}: has no key in {folder / 'allowed'}; there is {names}")
    with _writing(folder):
        public = _public(path)
        path.unlink()
        for other in _key_files(folder / "operators"):
            if _public(other) == public:
                other.unlink()
        made = folder / name
        if (
            name not in _RESERVED
            and (made / "client.key").is_file()
            and _public(made / "client.key") == public
        ):
            for part in ("client.key", "client.key_secret", "linker.key"):
                (made / part).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else lies in it
                made.rmdir()


def read_key(path: Path) -> tuple[bytes, bytes | None]:
    """The public and, where the file has it, the secret key.

    Raises:
        UserError: it is no key, or others can read a secret one.
    """
    try:
        if path.suffix == ".key_secret" and os.name == "posix" and path.stat().st_mode & 0o077:
            raise UserError(f"{path}: others can read this secret key; run chmod 600 on it")
        return zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: no readable key ({error}); make keys first, or leave out bus.keys"
        ) from error


class Door:
    """Who may do what at the linker now; follows its folder of keys while it changes.

    ``look`` is called in the linker's thread, ``callback`` in that of the authenticator: they share one mapping, which
    is replaced as a whole.
    """

    def __init__(self, folder: Path) -> None:
        """Raises UserError when a key cannot be read."""
        self._folder = folder
        self._seen = self._state()
        self._keys = {key.public: key for key in known_keys(folder)}

    def may(self, public: str, right: Right) -> bool:
        """Whether the key may do this now."""
        key = self._keys.get(public)
        return key is not None and right in key.rights

    def name(self, public: str) -> str:
        """Name of the key's file, or the key itself."""
        key = self._keys.get(public)
        return public if key is None else key.name

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a key may connect to the socket whose name ``domain`` is, as the authenticator asks."""
        return any(self.may(key.decode(), right) for right in get_args(Right) if right == domain)

    def look(self) -> bool:
        """Read the folder again where it has changed; whether somebody may do less than before."""
        state = self._state()
        if state == self._seen:
            return False
        # A file half written now will be seen to have changed; meanwhile it opens nothing.
        keys = {key.public: key for key in known_keys(self._folder, skip_broken=True)}
        before, self._keys, self._seen = self._keys, keys, state
        nothing = frozenset[Right]()
        lost = [
            k for k in before.values() if k.rights - (keys[k.public].rights if k.public in keys else nothing)
        ]
        for key in lost:
            log.warning("%s: its key no longer opens all that it did", key.name)
        return bool(lost)

    def _state(self) -> tuple[bool, list[tuple[str, int, int, int]]]:
        found, operators = [], self._folder / "operators"
        for path in (*_key_files(self._folder / "allowed"), *_key_files(operators)):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                found.append((str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return operators.is_dir(), found  # an empty one names nobody, which is less than none


def _key_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.key"))


def _public(path: Path) -> str:
    return read_key(path)[0].decode()


def _read_all(folder: Path, skip_broken: bool) -> Iterator[tuple[str, str, str | None]]:
    """Name, public key and role of every key in a folder; None for a key without one, as keys of before are."""
    for path in _key_files(folder):
        try:
            public = _public(path)
            found = _ROLE.search(path.read_text(encoding="utf-8", errors="replace"))
        except (UserError, OSError) as error:
            if not skip_broken:
                raise
            log.warning("a key is left out: %s", error)
            continue
        yield path.stem, public, None if found is None else found[1].partition("#")[0].strip(" \t\r=\"'")


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """All that is made meanwhile is its owner's alone."""
    before = os.umask(0o077)
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: keys cannot be written ({error}); give a folder you own") from error
    finally:
        os.umask(before)


def _write(path: Path, data: bytes) -> None:
    """As a whole: a running linker reads what lies there at any moment."""
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
    with open(handle, "wb") as file:
        file.write(data)
    os.replace(fresh, path)
