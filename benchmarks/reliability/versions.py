"""Files of earlier versions are carried over or refused in one sentence, and nothing of them is destroyed."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.accuracy import Row, least, most
from benchmarks.reliability.bench import Bench, CannotRun
from benchmarks.reliability.linkers import (
    Place,
    a_linker,
    lay_down,
    remembered,
    taken_in,
    tracklet,
    update,
)
from tracker.core.linker import STATE_VERSION
from tracker.errors import UserError
from tracker.io import store, tape, wire
from tracker.io.tape import TapeReader
from tracker.roles.linking import linker

OLD = Path(__file__).parent.parent.parent / "tests" / "tapes"  # written by the programs of their time
NEWER = 99


def run(bench: Bench) -> Row:
    """Every earlier version of every file, one that is newer, and looks of another embedder."""
    if not OLD.is_dir():
        raise CannotRun(f"{OLD} is not there")
    logging.getLogger("tracker").setLevel(logging.CRITICAL)
    figures = _logs(bench) | _checkpoints(bench) | _tapes(bench) | _embedders(bench)
    none = (
        *("events lost", "files changed by a refusal", "told in more than a sentence", "opened though newer"),
        *(
            "messages of tapes lost",
            "recognised by looks of another embedder",
            "identities lost to an embedder",
        ),
    )
    wanted = dict.fromkeys(none, most(0)) | {
        "identities back, %": least(100),
        "times an embedder is said": least(1),
    }
    return Row("versions", figures, wanted)


def _logs(bench: Bench) -> dict[str, float]:
    """A linker's whole life on each earlier log."""
    old = sorted(OLD.glob("log_v*.sql"))
    lost = 0
    for path in old:
        with _place(bench) as place:
            place.out.mkdir()
            file = place.out / "events.sqlite"
            with contextlib.closing(sqlite3.connect(file)) as db:
                db.executescript(path.read_text())
                blobs = [blob for (blob,) in db.execute("SELECT blob FROM events ORDER BY epoch, seq")]
                # Not of so long ago that they are deleted for their age.
                db.execute("UPDATE events SET t_ns = ?", (time.time_ns(),))
                db.commit()
            _one_life(place)
            kept = [wire.encode(event) for event in place.logged()]
            lost += sum(blob not in kept for blob in blobs)
    return {"logs carried over": len(old), "events lost": lost}


def _checkpoints(bench: Bench) -> dict[str, float]:
    """Each earlier checkpoint; and a checkpoint, a log and a tape of a version that is yet to come."""
    changed = long = opened = refused = 0
    back = there = 0
    for path in sorted(OLD.glob("checkpoint_v*")):
        with _place(bench) as place:
            _with_checkpoint(place, saved := store.load_checkpoint(path))
            assert saved is not None
            if saved.checkpoint.schema_version == STATE_VERSION:
                place.start()
                there += 1
                back += [(p.global_id, p.name) for p in place.view().identities] == [(1, "Ada")]
                place.kill()
                continue
            refused += 1
            was_changed, was_long, was_opened = _refused(place)
            changed, long, opened = changed + was_changed, long + was_long, opened + was_opened
    for newer in ("checkpoint", "log"):
        with _place(bench) as place:
            saved = store.load_checkpoint(next(OLD.glob(f"checkpoint_v{STATE_VERSION}")))
            if newer == "checkpoint" and saved is not None:
                told = msgspec.structs.replace(saved.checkpoint, schema_version=NEWER)
                saved = msgspec.structs.replace(saved, checkpoint=told)
            _with_checkpoint(place, saved)
            if newer == "log":
                with contextlib.closing(sqlite3.connect(place.out / "events.sqlite")) as db:
                    db.execute(f"PRAGMA user_version = {NEWER}")
            refused += 1
            was_changed, was_long, was_opened = _refused(place)
            changed, long, opened = changed + was_changed, long + was_long, opened + was_opened
    return {
        "refused": refused,
        "files changed by a refusal": changed,
        "told in more than a sentence": long,
        "opened though newer": opened,
        "identities back, %": round(100 * back / max(there, 1), 1),
    }


def _with_checkpoint(place: Place, saved: wire.Saved | None) -> None:
    """A log of the version before, and a checkpoint beside it."""
    assert saved is not None
    place.out.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(place.out / "events.sqlite")) as db:
        db.executescript(max(OLD.glob("log_v*.sql")).read_text())
    store.save_checkpoint(place.out / "checkpoint", saved)


def _refused(place: Place) -> tuple[bool, bool, bool]:
    """Whether files have changed, it took more than a sentence, or the linker began all the same."""
    before = _bytes(place.out)
    try:
        _one_life(place)
    except UserError as error:
        return _bytes(place.out) != before, "\n" in str(error) or not str(error), False
    return _bytes(place.out) != before, False, True


def _bytes(folder: Path) -> dict[str, bytes]:
    """What would be left to another version of the program: SQLite's own helpers aside."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return {path.name: path.read_bytes() for path in files if not path.name.endswith(("-shm", "-wal"))}


def _tapes(bench: Bench) -> dict[str, float]:
    lost, newer = 0, 0
    for path in sorted(OLD.glob("*.tape")):
        reader = TapeReader(path)
        lost += not list(reader)
        lost += reader.damaged + (reader.torn_bytes > 0)
    with bench.folder() as folder:
        data = bytearray((OLD / "golden_v1.tape").read_bytes())
        data[8] = NEWER
        (folder / "newer.tape").write_bytes(data)
        with contextlib.suppress(UserError):
            TapeReader(folder / "newer.tape")
            newer += 1
    assert tape.SCHEMA_VERSION < NEWER
    return {"messages of tapes lost": lost + newer}


def _embedders(bench: Bench) -> dict[str, float]:
    """The same people, seen with another embedder than before: new numbers, and those of before stay known."""
    count = 40
    with _place(bench, store={"checkpoint_s": 0.2}) as place:
        lay_down(place, *remembered(count, time.time_ns(), model="before"))
        place.start(say=place.folder / "said")
        known = {p.global_id for p in place.view().identities}
        with place.uplink() as uplink:
            for person in range(1, count + 1):
                now_ns = time.time_ns()
                one = tracklet(person, now_ns, run=2, ended=True, model="after")
                uplink.send(update(person, now_ns, [one], run=2), time.monotonic())
            taken_in(uplink)
        after = {p.global_id for p in place.view().identities}
        place.stop()
        said = (place.folder / "said").read_text().count("the embedder changed")
    return {
        "recognised by looks of another embedder": count - len(after - known),
        "identities lost to an embedder": len(known - after),
        "times an embedder is said": said,
    }


@contextlib.contextmanager
def _place(bench: Bench, **sections: dict[str, object]) -> Iterator[Place]:
    with bench.folder() as folder, a_linker(folder, **sections) as place:
        yield place


def _one_life(place: Place) -> None:
    """The linker, begun and ended. Raises UserError where it refuses to begin."""
    stop = threading.Event()
    stop.set()
    linker(place.site, place.out, stop=stop)
