"""The event log, the linker's checkpoint and the site model on disk.

The log is one SQLite file (WAL). ``append`` numbers a group of events and returns when they are on disk: one
fsync for the group, since a disk manages a few hundred a second. Deleted rows are overwritten, in the file
and in its WAL. The checkpoint holds what people look like: one file, readable by its owner alone, replaced
as a whole. So is the site model, which knows no one's looks.

What cannot be written for now (the disk is full) is a ``StorageError``. Nothing is half written then, and the
same may be tried again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tracker.core.topology import SiteModel
from tracker.errors import StorageError, UserError
from tracker.io import wire
from tracker.io.tape import TapeReader, TapeWriter, write_all
from tracker.types import (
    Appeared,
    Checkpoint,
    Event,
    HandedOver,
    Left,
    LinkerInput,
    Merged,
    Split,
    Updated,
)

log = logging.getLogger(__name__)

SCHEMA_VERSION = 3
Place = tuple[int, int]  # (epoch, seq) of an event; (epoch, 0) is before the first of that epoch
_CREATE = """
CREATE TABLE epochs (epoch INTEGER PRIMARY KEY, started_ns INTEGER NOT NULL);
CREATE TABLE events (
    epoch INTEGER NOT NULL, seq INTEGER NOT NULL, t_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    global_id INTEGER,   -- whom it speaks of; NULL for cameras
    other_id INTEGER,    -- the second identity of a merge or a split
    blob BLOB NOT NULL,  -- the wire message
    PRIMARY KEY (epoch, seq)
) WITHOUT ROWID;
CREATE INDEX events_of_identity ON events (global_id);
CREATE INDEX events_of_other ON events (other_id) WHERE other_id IS NOT NULL;
CREATE INDEX events_by_time ON events (t_ns);
CREATE TABLE deleted (epoch INTEGER NOT NULL, seq INTEGER NOT NULL);  -- the last place that age has taken
"""
_CREATE_AUDIT = """
CREATE TABLE commands (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, t_ns INTEGER NOT NULL, verb TEXT NOT NULL,
    global_ids TEXT NOT NULL,  -- ' 1 2 '
    operator TEXT NOT NULL, obeyed INTEGER NOT NULL, reason TEXT NOT NULL,
    epoch INTEGER NOT NULL, seq INTEGER NOT NULL, events INTEGER NOT NULL  -- so many events after this place
)"""


# Numbers stay used when all that named them is gone.
_CREATE_USED = "ALTER TABLE deleted ADD COLUMN largest_id INTEGER NOT NULL DEFAULT 0"
_BUSY_S = 5.0  # how long somebody else may write
_PRUNED_AT_ONCE = 5000  # events deleted between two looks at the sockets: some 50 ms


class EventLog:
    """The events of one site, numbered and on disk. Belongs to the thread that opens it."""

    def __init__(self, path: Path, *, started_ns: int) -> None:
        """Open or create the log, and begin a new epoch.

        Args:
            path: The SQLite file; its folder is created.
            started_ns: Wall clock, ns since the Unix epoch.

        Raises:
            UserError: it cannot be written, is no log, or a newer version wrote it.
        """
        self.path = path
        with self._explained("opened"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Events say who was where: nobody else's business. SQLite gives its WAL the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            sync_folder(path.parent)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
        try:
            with self._explained("opened"):
                self._prepare()
                with self._transaction():
                    last = self._one("SELECT max(epoch) FROM epochs") or 0
                    # Seconds of the wall clock, so that a lost log file does not bring old numbers back.
                    self.epoch = max(last + 1, started_ns // 10**9)
                    self._db.execute("INSERT INTO epochs VALUES (?, ?)", (self.epoch, started_ns))
        except BaseException:
            self._db.close()
            raise
        self.seq = 0

    def _prepare(self) -> None:
        found = self._one("PRAGMA user_version")
        if found > SCHEMA_VERSION:
            raise UserError(
                f"{self.path}: a newer version of this program wrote this log (schema {found}, this one "
                f"reads {SCHEMA_VERSION}); use that version or give another folder"
            )
        if found == 0 and self._one("SELECT count(*) FROM sqlite_master"):
            raise UserError(f"{self.path}: is no event log; give another folder")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # committed means on disk, also when the power fails
        self._db.execute("PRAGMA secure_delete = ON")
        if found == 0:
            with self._transaction():
                for statement in _CREATE.split(";\n"):
                    self._db.execute(statement)
                self._db.execute("PRAGMA user_version = 1")
        if found < 2:
            with self._transaction():
                self._db.execute(_CREATE_AUDIT)
                self._db.execute("PRAGMA user_version = 2")
        if found < 3:
            with self._transaction():
                self._db.execute(_CREATE_USED)
                self._db.execute("PRAGMA user_version = 3")
        self._is_wal_clean = True

    @property
    def place(self) -> Place:
        """The last event's (epoch, seq)."""
        return self.epoch, self.seq

    def append(self, events: Sequence[Event], outcome: wire.Outcome | None = None) -> list[Event]:
        """The same events with their epoch and seq, on disk when this returns. No events: nothing happens.

        Args:
            outcome: Of the command that caused them: goes into the audit together with them, or not at all.

        Raises:
            StorageError: the disk is full or broken. None of these events is written then, all earlier ones are.
        """
        if not events and outcome is None:
            return []
        numbered = [
            msgspec.structs.replace(event, epoch=self.epoch, seq=self.seq + i)
            for i, event in enumerate(events, start=1)
        ]
        rows = [
            (e.epoch, e.seq, e.t_ns, wire.kind_of(e), *identities_of(e, pad=2), wire.encode(e))
            for e in numbered
        ]
        with self._explained("written"), self._transaction():
            self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            if outcome is not None:
                o, ids = outcome, f" {' '.join(map(str, outcome.global_ids))} "
                row = (o.id, o.t_ns, o.verb, ids, o.by, o.obeyed, o.reason, *self.place, len(events))
                self._db.execute("INSERT INTO commands VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        self.seq += len(numbered)
        return numbered

    def read(self, since: Place = (0, 0), limit: int = 1000) -> list[Event]:
        """The first ``limit`` events after ``since``, in their order, over all epochs that are kept."""
        query = "SELECT blob FROM events WHERE (epoch, seq) > (?, ?) ORDER BY epoch, seq LIMIT ?"
        with self._explained("read"):
            return [_event(blob) for (blob,) in self._db.execute(query, (*since, limit))]

    def messages(self, since: Place, limit: int) -> Generator[tuple[Place, bytes], None, None]:
        """The same as wire messages, each with its place; read as far as they are taken. Close it when done."""
        query = "SELECT epoch, seq, blob FROM events WHERE (epoch, seq) > (?, ?) ORDER BY epoch, seq LIMIT ?"
        with self._explained("read"), contextlib.closing(self._db.execute(query, (*since, limit))) as rows:
            for epoch, seq, blob in rows:
                yield (epoch, seq), blob

    def lost_since(self, since: Place) -> bool:
        """Whether age has deleted events after ``since``."""
        with self._explained("read"):
            last = self._db.execute("SELECT epoch, seq FROM deleted").fetchone()
        return last is not None and tuple(last) > since

    def outcome(self, command_id: str) -> wire.Outcome | None:
        """What became of a command, with those of its events that are kept; None when it never came."""
        with self._explained("read"):
            found = self._db.execute(f"{_AUDIT} WHERE id = ?", (command_id,)).fetchone()
        if found is None:
            return None
        epoch, seq, count = found[-3:]
        events = self.read((epoch, seq), count) if count else []
        caused = tuple(e for e in events if e.epoch == epoch and e.seq <= seq + count)
        return msgspec.structs.replace(_outcome(found), events=caused)

    def audit(self, after: int = 0, limit: int = 1000) -> list[wire.Outcome]:
        """The first ``limit`` commands after a number, in the order in which they came, without their events."""
        query = f"{_AUDIT} WHERE number > ? ORDER BY number LIMIT ?"
        with self._explained("read"):
            return [_outcome(row) for row in self._db.execute(query, (after, limit))]

    def forgotten(self) -> list[int]:
        """Whom an operator has had forgotten, as far back as the audit goes."""
        query = f"{_AUDIT} WHERE verb = 'forget' AND obeyed"
        with self._explained("read"):
            return [g for row in self._db.execute(query) for g in _ids(row[4])]

    def speaks_of(self, global_id: int) -> bool:
        """Whether any kept event names this identity."""
        return bool(self._of(global_id, limit=1))

    def absorbed_by(self, global_id: int) -> int | None:
        """The identity into which this one was merged; None where no kept event says so."""
        moves = self._of(global_id, ("merged",))
        return next((e.kept for e in moves if isinstance(e, Merged) and e.absorbed == global_id), None)

    def _of(self, global_id: int, kinds: Sequence[str] = (), limit: int = -1) -> list[Event]:
        """The kept events that name an identity, in their order; ``kinds``: only these."""
        which = f"AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        query = f"SELECT blob FROM events WHERE (global_id = ? OR other_id = ?) {which} ORDER BY epoch, seq LIMIT ?"
        with self._explained("read"):
            return [
                _event(blob) for (blob,) in self._db.execute(query, (global_id, global_id, *kinds, limit))
            ]

    def numbers_of(self, global_id: int) -> list[int]:
        """All numbers that an identity has had: its own, and those that were merged into it and not taken back."""
        numbers = [global_id]
        for number in numbers:
            came, went = self._merged_into(number), []
            for split in (e for e in self._of(number, ("split",)) if isinstance(e, Split)):
                if split.global_id == number:
                    went.append(split)
                else:  # whoever was merged into another and left it again with all their tracklets
                    came += [m for m in self._merged_into(split.global_id) if _takes_back(split, m)]
            numbers += [
                m.absorbed
                for m in came
                if m.absorbed not in numbers and not any(_takes_back(split, m) for split in went)
            ]
        return numbers

    def _merged_into(self, global_id: int) -> list[Merged]:
        moves = self._of(global_id, ("merged",))
        return [e for e in moves if isinstance(e, Merged) and e.kept == global_id]

    def count(self) -> int:
        """Events kept."""
        with self._explained("read"):
            return int(self._one("SELECT count(*) FROM events"))

    def largest_id(self) -> int:
        """The largest identity that any event of this log ever named, deleted ones included; 0 for none."""
        named = (
            "SELECT max(global_id) FROM events",
            "SELECT max(other_id) FROM events WHERE other_id IS NOT NULL",
            "SELECT max(largest_id) FROM deleted",
        )
        with self._explained("read"):
            return max(*(self._one(query) or 0 for query in named), *self.forgotten(), 0)

    @property
    def size_bytes(self) -> int:
        """What is kept takes so much of the file; what was deleted leaves room in it for what comes."""
        with self._explained("read"):
            pages, free, size = (
                self._one(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def prune(
        self,
        before_ns: int,
        most_bytes: int | None = None,
        at_once: int = _PRUNED_AT_ONCE,
        through: Place = (1 << 62, 0),
    ) -> int:
        """Delete the oldest events: those of before ``before_ns`` (capture time), or what is too much.

        Args:
            most_bytes: delete while the log is larger, as many as are needed; None: however large it is.
            at_once: at most so many events.
            through: none after this one. What a linker's checkpoint does not know of it compares when it starts again.

        Returns:
            How many are gone. Any: there may be more to delete.

        Raises:
            StorageError: the disk is full or broken; nothing is deleted.
        """
        with self._explained("written"):
            if not self._is_wal_clean:
                self._empty_wal()
            kept = "FROM events WHERE (epoch, seq) <= (?, ?)"
            query = f"SELECT epoch, seq {kept} AND t_ns < ? ORDER BY t_ns LIMIT ?"
            old = self._db.execute(query, (*through, before_ns, at_once)).fetchall()
            excess_bytes = 0 if old or most_bytes is None else self.size_bytes - most_bytes
            if excess_bytes > 0:
                needed = math.ceil(excess_bytes * self.count() / self.size_bytes)  # they are alike in size
                query = f"SELECT epoch, seq {kept} ORDER BY epoch, seq LIMIT ?"
                old = self._db.execute(query, (*through, min(needed, at_once))).fetchall()
            aged = self._one(f"SELECT count(*) FROM commands WHERE t_ns < {int(before_ns)}")
            if not old and not aged:
                return 0
            with self._transaction():
                largest = self.largest_id()
                before = self._db.execute("SELECT epoch, seq FROM deleted").fetchone()
                self._db.execute("DELETE FROM deleted")
                last = max([*old, before or (0, 0)])
                self._db.execute("INSERT INTO deleted VALUES (?, ?, ?)", (*last, largest))
                self._db.execute("DELETE FROM commands WHERE t_ns < ?", (before_ns,))
                self._db.executemany("DELETE FROM events WHERE epoch = ? AND seq = ?", old)
            self._empty_wal()
        return len(old)

    def forget(self, global_id: int) -> int:
        """Delete every event that speaks of one identity under any of its numbers; returns how many.

        Numbers stay used. Of what operators did with it the audit keeps the numbers, the time and who it was.
        """
        numbers = self.numbers_of(global_id)
        with self._explained("written"), self._transaction():
            gone = 0
            for number in numbers:
                gone += self._db.execute(
                    "DELETE FROM events WHERE global_id = ? OR other_id = ?", (number, number)
                ).rowcount
                # Reasons name tracklets.
                self._db.execute(
                    "UPDATE commands SET reason = '' WHERE reason != '' AND global_ids LIKE ?",
                    (f"% {number} %",),
                )
        with self._explained("written"):
            self._empty_wal()
        return gone

    def close(self) -> None:
        """Close the file; its WAL is folded in."""
        self._db.close()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _empty_wal(self) -> None:
        """What was deleted still stands in the WAL until it is folded into the file and cut."""
        was_clean, self._is_wal_clean = self._is_wal_clean, False
        self._db.execute(
            "PRAGMA busy_timeout = 0"
        )  # who reads the log may do so for long: nobody waits for that
        try:
            busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {round(1000 * _BUSY_S)}")
        self._is_wal_clean = not busy
        if busy and was_clean:
            log.warning("%s: another program reads the log; deleted events leave its WAL later", self.path)

    def _one(self, query: str) -> Any:
        return self._db.execute(query).fetchone()[0]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:  # our mistake, not the disk's
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            may_go_later = isinstance(error, sqlite3.OperationalError | OSError)
            raise (StorageError if may_go_later else UserError)(
                f"{self.path}: the event log cannot be {verb} ({error}); {_remedy(error)}"
            ) from error


def _remedy(error: Exception) -> str:
    if "full" in str(error) or "No space" in str(error):
        return "free some disk space, or lower store.keep_days or store.keep_mib; nothing already written is lost"
    if "not a database" in str(error):
        return "give another folder"
    return "see whether its folder exists and may be written"


_AUDIT = (
    "SELECT number, id, t_ns, verb, global_ids, operator, obeyed, reason, epoch, seq, events FROM commands"
)


def _outcome(row: Sequence[Any]) -> wire.Outcome:
    number, command_id, t_ns, verb, ids, operator, obeyed, reason, *_ = row
    return wire.Outcome(
        number=number,
        id=command_id,
        t_ns=t_ns,
        verb=verb,
        global_ids=_ids(ids),
        by=operator,
        obeyed=bool(obeyed),
        reason=reason,
    )


def _ids(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


def _takes_back(split: Split, merged: Merged) -> bool:
    """Whether a split took away all that an earlier merge had brought."""
    is_later = (split.epoch, split.seq) > (merged.epoch, merged.seq)
    return is_later and bool(merged.tracks) and set(merged.tracks) <= set(split.tracks)


def _event(blob: bytes) -> Event:
    event = wire.decode(blob)
    assert isinstance(event, Event)
    return event


def identities_of(event: Event, pad: int = 0) -> tuple[int | None, ...]:
    """The identities that an event speaks of: none, one, or two; filled up with None to ``pad``."""
    match event:
        case Merged(kept=first, absorbed=second) | Split(global_id=first, to=second):
            ids: tuple[int | None, ...] = (first, second)
        case Appeared() | Updated() | HandedOver() | Left():
            ids = (event.global_id,)
        case _:
            ids = ()
    return ids + (None,) * (pad - len(ids))


class UnsureError(StorageError):
    """A file was replaced, but its folder could not be put on disk: after a power cut it may be the old one again."""


class Journal:
    """What a linker needs to go on after a crash: its last checkpoint, and tapes of all it heard since.

    ``checkpoint`` and ``journal-NUMBER.tape``, all mode 0600. A tape is begun with every start and every
    checkpoint; older ones are deleted then, or kept as recordings for a while. Nothing is written before ``begin``.
    """

    def __init__(self, folder: Path, *, keep_tapes: bool = False, keep_s: float = math.inf) -> None:
        """
        Args:
            keep_s: tapes that are kept are deleted when they are so old.

        Raises:
            UserError: the checkpoint there cannot be read.
        """
        self._folder, self._keep_tapes, self._keep_s = folder, keep_tapes, keep_s
        self._path = folder / "checkpoint"
        self.saved = load_checkpoint(self._path)
        self._tape: TapeWriter | None = None
        self.damaged = 0  # records and torn tails that could not be read

    def messages(self) -> Iterator[LinkerInput]:
        """All that was heard after the last checkpoint, in order; nothing where there is none."""
        for number, path in self._tapes():
            if self.saved is not None and number >= self.saved.journal:
                tape = TapeReader(path)
                yield from tape
                self.damaged += tape.damaged + (tape.torn_bytes > 0)

    def begin(
        self,
        checkpoint: Checkpoint,
        place: Place,
        unsaid: Sequence[Event | wire.Outcome] = (),
        *,
        ended: bytes = b"",
        told: bytes = b"",
        forget: bool = False,
    ) -> None:
        """Save a checkpoint; what is written from here on comes after it.

        Args:
            place: The last event in the log that the checkpoint knows of.
            unsaid: What it knows of besides, in its order, and the log does not yet.
            ended: Digests of the tracklets that it has heard to the end, one after the other.
            told: Of those that were told of and not heard to the end.
            forget: Delete all earlier tapes, also those that would be kept.

        Raises:
            StorageError: it cannot be written; the last one and its tapes are still there. Where it was replaced all
                the same and nobody knows for how long (``is_open`` is False then), nothing is written until this works.
        """
        if self._tape is not None:
            self._tape.flush(sync=True)
        tapes = self._tapes()
        number = tapes[-1][0] + 1 if tapes else 1
        fresh = TapeWriter(self._folder / f"journal-{number:06d}.tape")
        saved = wire.Saved(
            checkpoint=checkpoint,
            epoch=place[0],
            seq=place[1],
            journal=number,
            forget=forget,
            unsaid=tuple(unsaid),
            ended=ended,
            told=told,
        )
        # Of a life that ended before it had deleted them.
        left_over = self.saved.journal if self.saved is not None and self.saved.forget else 0
        try:
            fresh.flush(sync=True)  # its name will be there with the checkpoint's, so it must be a tape
            save_checkpoint(self._path, saved)
        except UnsureError:
            # The checkpoint names the new tape, so what would still come to the old one is not read back; nor may
            # anything be promised that the new one holds, whose name may be gone. All tapes stay: one of them is right.
            fresh.abandon()
            self.abandon()
            self.saved = saved
            raise
        except StorageError:
            fresh.abandon()
            with contextlib.suppress(OSError):
                fresh.path.unlink(missing_ok=True)
            raise
        if self._tape is not None:
            self._tape.close()
        self.saved, self._tape = saved, fresh
        try:
            for old, path in tapes:
                gone = forget or old < left_over
                if gone or not self._keep_tapes or self._is_old(path, checkpoint.t_ns):
                    path.unlink(missing_ok=True)
            if forget:
                sync_folder(
                    self._folder
                )  # a name that comes back after a power cut would bring the looks back
        except OSError as error:
            raise StorageError(f"{self._folder}: old tapes cannot be deleted ({error})") from error

    def _is_old(self, tape: Path, now_ns: int) -> bool:
        return now_ns - tape.stat().st_mtime_ns > self._keep_s * 1e9

    @property
    def is_open(self) -> bool:
        """Whether anything is written now."""
        return self._tape is not None

    def write(self, message: LinkerInput) -> None:
        """One more message; nothing after ``abandon``. Raises StorageError when the disk is full."""
        if self._tape is not None:
            self._tape.write(message)

    def flush(self, *, sync: bool = False) -> None:
        """Hand all to the system; ``sync``: to the disk, so that it survives a power cut.

        Raises StorageError when the disk is full."""
        if self._tape is not None:
            self._tape.flush(sync=sync)

    def abandon(self) -> None:
        """Write no more until the next ``begin``: it could not be read on behind a hole."""
        if self._tape is not None:
            self._tape.abandon()
            self._tape = None

    def close(self) -> None:
        """Close the tape, all written."""
        if self._tape is not None:
            self._tape.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tapes(self) -> list[tuple[int, Path]]:
        return tapes_in(self._folder)


def tapes_in(folder: Path) -> list[tuple[int, Path]]:
    """The numbered tapes of a journal, oldest first."""
    numbers = ((path.stem.removeprefix("journal-"), path) for path in folder.glob("journal-*.tape"))
    return sorted((int(number), path) for number, path in numbers if number.isdecimal())


def save_checkpoint(path: Path, saved: wire.Saved) -> None:
    """Replace the checkpoint at ``path`` as a whole; mode 0600, on disk when this returns.

    Raises:
        StorageError: it cannot be written; the one before it is still there, or may be (``UnsureError``).
    """
    try:
        _replace(path, wire.encode(saved))
    except OSError as error:
        raise StorageError(f"{path}: the checkpoint cannot be written ({error}); {_remedy(error)}") from error


def load_checkpoint(path: Path) -> wire.Saved | None:
    """The checkpoint at ``path``; None when there is none.

    Raises:
        UserError: it is there and cannot be read.
    """
    try:
        saved = wire.decode(path.read_bytes(), max_bytes=1 << 31)
    except FileNotFoundError:
        return None
    except (OSError, wire.WireError) as error:
        raise UserError(
            f"{path}: the checkpoint cannot be read ({error}); move it away to start with no memory of "
            "earlier people"
        ) from error
    if not isinstance(saved, wire.Saved):
        raise UserError(f"{path}: is no checkpoint; move it away to start with no memory of earlier people")
    return saved


def save_site(path: Path, model: SiteModel) -> None:
    """Replace the site model at ``path`` as a whole; mode 0600, on disk when this returns.

    Raises:
        StorageError: it cannot be written; the one before it is still there, or may be (``UnsureError``).
    """
    try:
        _replace(path, model.to_file_text().encode())
    except OSError as error:
        raise StorageError(f"{path}: the site model cannot be written ({error}); {_remedy(error)}") from error


def load_site(path: Path) -> SiteModel | None:
    """The site model at ``path``; None when there is none.

    Raises:
        UserError: it is there and cannot be read.
    """
    try:
        return SiteModel.from_text(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); move it away to start with nothing learned"
        ) from error


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)  # an old one could have another mode
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)  # half of it helps nobody, and takes the space that is lacking
        raise
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise UnsureError(f"{path}: its folder cannot be put on disk ({error}); {_remedy(error)}") from error


def sync_folder(folder: Path) -> None:
    """Put a folder's new and renamed files on disk (POSIX needs it; elsewhere there is no such call)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
