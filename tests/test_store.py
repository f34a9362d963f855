"""The event log and the checkpoint: numbered, on disk, deletable, and honest about a full disk."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tracker.core.topology import SiteModel
from tracker.errors import StorageError, UserError
from tracker.io import store, wire
from tracker.io.store import EventLog, Journal
from tracker.types import (
    Advance,
    Appeared,
    CameraLost,
    Checkpoint,
    Event,
    Left,
    Merged,
    Sighting,
    Split,
    TrackKey,
)

S = 10**9


def key(number: int) -> TrackKey:
    return TrackKey(camera_id="hall", run=0, number=number)


def appeared(global_id: int, t_s: float = 1.0, camera: str = "hall") -> Appeared:
    t_ns = round(t_s * S)
    sighting = Sighting(camera_id=camera, t_ns=t_ns, box=(0.0, 0.0, 1.0, 2.0))
    return Appeared(t_ns=t_ns, global_id=global_id, track=key(global_id), sighting=sighting)


def places(events: list[Event]) -> list[tuple[int, int]]:
    return [(e.epoch, e.seq) for e in events]


def test_events_are_numbered_from_one_and_read_back(tmp_path: Path) -> None:
    with EventLog(tmp_path / "deep" / "events.sqlite", started_ns=7 * S) as log:
        assert log.place == (7, 0)  # the epoch is the wall clock's second
        assert log.append([]) == []
        first = log.append([appeared(1), CameraLost(t_ns=5, camera_id="yard")])
        second = log.append([Merged(t_ns=6, kept=1, absorbed=2, tracks=(key(2),))])
        assert places(first + second) == [(7, 1), (7, 2), (7, 3)]
        assert log.read() == first + second
        assert log.read((7, 1), limit=1) == first[1:]
        assert log.read((7, 3)) == []
        assert log.place == (7, 3) and log.count() == 3 and log.largest_id() == 2
    assert stat.S_IMODE((tmp_path / "deep" / "events.sqlite").stat().st_mode) == 0o600


def test_an_epoch_is_never_used_twice(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    epochs = []
    for started_s in (100, 100, 50, 200):  # twice in one second, then a clock set back
        with EventLog(path, started_ns=started_s * S) as log:
            epochs.append(log.epoch)
            log.append([appeared(1)])
    assert epochs == [100, 101, 102, 200]
    with EventLog(path, started_ns=0) as log:
        assert places(log.read()) == [(100, 1), (101, 1), (102, 1), (200, 1)]
        assert places(log.read((101, 1))) == [(102, 1), (200, 1)]  # a replay goes on over epochs


def test_what_append_returned_is_on_disk_even_if_the_program_dies(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    log = EventLog(path, started_ns=S)
    events = log.append([appeared(1), appeared(2)])
    # Another connection sees it while the first has not been closed; synchronous=FULL makes commits durable.
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM events").fetchone() == (2,)
    assert log._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    log.close()
    with EventLog(path, started_ns=S) as log:
        assert log.read() == events


def outcome(command_id: str, *ids: int, verb: str = "merge", t_s: float = 1.0, **more: Any) -> wire.Outcome:
    values = {"by": "ada", "obeyed": True} | more
    return wire.Outcome(id=command_id, t_ns=round(t_s * S), verb=verb, global_ids=ids, **values)


def test_an_outcome_is_kept_together_with_what_the_command_caused(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, started_ns=S) as log:
        log.append([appeared(1), appeared(2)])
        merged = Merged(t_ns=S, kept=1, absorbed=2, tracks=(key(2),))
        caused = log.append([merged], outcome("x", 1, 2))
        log.append([], outcome("y", 1, 3, obeyed=False, reason="no identity 3 is known now"))
        log.append([appeared(4)])
    with EventLog(path, started_ns=S) as log:
        log.append([appeared(5)])
        told = msgspec.structs.replace(outcome("x", 1, 2), number=1)
        assert log.outcome("x") == msgspec.structs.replace(told, events=tuple(caused))
        refused = log.outcome("y")
        assert refused is not None and not refused.obeyed and refused.events == ()
        assert log.outcome("z") is None
        assert (
            log.audit() == [told, refused]
            and log.audit(after=1) == [refused]
            and log.audit(limit=1) == [told]
        )
        with pytest.raises(UserError, match="cannot be written"):
            log.append([appeared(6)], outcome("x", 7))  # an id names one command
        assert log.count() == 5  # neither the command nor its event is there


def test_the_audit_ages_with_the_events(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        log.append([appeared(1, t_s=1)], outcome("old", 1, t_s=1))
        log.append([], outcome("older", 2, t_s=2))
        log.append([], outcome("new", 3, t_s=9))
        assert log.prune(before_ns=5 * S) == 1
        assert [o.id for o in log.audit()] == ["new"]


def test_of_who_is_forgotten_the_audit_keeps_numbers_and_times(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        log.append([appeared(17, camera="secret-place")])
        reason = "17 and 1 cannot be one: secret-place saw secret-place/0/1 and secret-place/0/2 at once"
        log.append([], outcome("a", 17, 1, obeyed=False, reason=reason))
        log.append(
            [], outcome("b", 1, 171, obeyed=False, reason="another reason")
        )  # 17 is a part of its number
        log.append([], outcome("c", 17, verb="forget", t_s=3))
        assert log.speaks_of(17) and log.forgotten() == [17]
        log.forget(17)
        assert b"secret-place" not in bytes_on_disk(tmp_path) and not log.speaks_of(17)
        told = [(o.global_ids, o.verb, o.t_ns, o.by, o.obeyed, o.reason) for o in log.audit()]
        assert told == [
            ((17, 1), "merge", S, "ada", False, ""),
            ((1, 171), "merge", S, "ada", False, "another reason"),
            ((17,), "forget", 3 * S, "ada", True, ""),
        ]
        assert log.largest_id() == 17  # its number stays used


def test_whoever_was_merged_into_somebody_is_forgotten_with_them(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        log.append([appeared(n, camera=f"place-{n}-") for n in range(1, 8)])
        log.append(
            [
                Merged(t_ns=S, kept=2, absorbed=3, tracks=(key(3),)),
                Merged(t_ns=S, kept=1, absorbed=2, tracks=(key(2), key(3))),
                Merged(t_ns=S, kept=1, absorbed=4, tracks=(key(4),)),
                Split(t_ns=S, global_id=1, to=8, tracks=(key(4), key(9))),  # 4 goes on as 8
                Split(t_ns=S, global_id=5, to=6, tracks=(key(6),)),
                Merged(t_ns=S, kept=5, absorbed=6, tracks=(key(6),)),  # and back
            ]
        )
        assert sorted(log.numbers_of(1)) == [1, 2, 3]
        assert sorted(log.numbers_of(8)) == [4, 8]
        assert sorted(log.numbers_of(5)) == [5, 6]
        assert (log.absorbed_by(3), log.absorbed_by(4), log.absorbed_by(1)) == (2, 1, None)
        log.forget(1)
        left = bytes_on_disk(tmp_path)
        assert [n for n in range(1, 8) if f"place-{n}-".encode() in left] == [4, 5, 6, 7]


def test_a_log_of_before_there_was_an_audit_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, started_ns=S) as log:
        log.append([appeared(1)])
        log._db.execute("DROP TABLE commands")
        log._db.execute("ALTER TABLE deleted DROP COLUMN largest_id")
        log._db.execute("PRAGMA user_version = 1")
    with EventLog(path, started_ns=S) as log:
        assert log.count() == 1 and log.audit() == []
        log.append([], outcome("x", 1))
    with EventLog(path, started_ns=S) as log:
        assert [o.id for o in log.audit()] == ["x"]


def bytes_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_forgetting_and_age_really_delete(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        log.append([appeared(11, t_s=1, camera="secret-old-place")])
        log.append([appeared(i, t_s=10, camera=f"secret-place-{i}") for i in (1, 2, 3, 4)])
        log.append(
            [
                Merged(t_ns=11 * S, kept=1, absorbed=2, tracks=(key(2),)),
                Split(t_ns=11 * S, global_id=1, to=4, tracks=(key(4),)),
                Left(t_ns=12 * S, global_id=3, last=appeared(3).sighting),
            ]
        )
        assert b"secret-place-2" in bytes_on_disk(tmp_path)
        assert log.forget(2) == 2  # its appearance and the merge
        assert log.forget(2) == 0
        assert b"secret-place-2" not in bytes_on_disk(tmp_path)
        assert not log.lost_since((1, 0))
        assert log.prune(before_ns=5 * S) == 1
        assert log.prune(before_ns=5 * S) == 0
        assert b"secret-old-place" not in bytes_on_disk(tmp_path)
        assert log.lost_since((1, 0)) and not log.lost_since((1, 1))
        assert b"secret-place-1" in bytes_on_disk(tmp_path)
        # 1 went by age, 3 and 6 by forgetting; numbers are not used again.
        assert places(log.read()) == [(1, 2), (1, 4), (1, 5), (1, 7), (1, 8)]
        assert places(log.append([appeared(5)])) == [(1, 9)]


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, started_ns=S) as log:
        kept = log.append([appeared(i) for i in range(1, 20)])
        # A stand-in for a full disk: SQLite may not grow its file any further.
        pages = log._db.execute("PRAGMA page_count").fetchone()[0]
        log._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(
            UserError, match="cannot be written .*full.*free some disk space.*nothing already"
        ) as said:
            log.append([appeared(i, camera="x" * 500) for i in range(20, 400)])
        assert "\n" not in str(said.value)
        assert log.read() == kept and log.place == (1, 19)
        log._db.execute("PRAGMA max_page_count = 100000")
        assert places(log.append([appeared(20)])) == [(1, 20)]  # the failed ones used no numbers
    with EventLog(path, started_ns=S) as log:
        assert log.count() == 20


def test_each_mistake_gets_its_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("this is a letter to my aunt, and not a database at all" * 10)
    with pytest.raises(UserError, match="cannot be opened .*not a database.* give another folder"):
        EventLog(text, started_ns=S)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    with pytest.raises(UserError, match="is no event log"):
        EventLog(other, started_ns=S)
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(UserError, match=r"newer version .*schema 9, this one reads 3"):
        EventLog(newer, started_ns=S)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be opened"):
        EventLog(tmp_path / "file" / "events.sqlite", started_ns=S)


def a_checkpoint(state: bytes = b"\x00who looks like what") -> Checkpoint:
    return Checkpoint(schema_version=1, t_ns=5, model_hash="c0ffee", state=state)


def saved(state: bytes = b"") -> wire.Saved:
    return wire.Saved(checkpoint=a_checkpoint(state), epoch=1, seq=2, journal=3)


def test_a_checkpoint_is_private_whole_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    assert store.load_checkpoint(path) is None
    store.save_checkpoint(path, saved(b"old"))
    path.with_name("checkpoint.new").write_text("left by a crash")
    store.save_checkpoint(path, saved(b"new"))
    assert store.load_checkpoint(path) == saved(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_a_broken_checkpoint_is_said(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(b"\x92\x01")
    with pytest.raises(UserError, match="cannot be read .* move it away"):
        store.load_checkpoint(path)
    path.write_bytes(wire.encode(a_checkpoint()))
    with pytest.raises(UserError, match="is no checkpoint"):
        store.load_checkpoint(path)
    with pytest.raises(UserError, match="cannot be written"):
        store.save_checkpoint(tmp_path / "no" / "folder" / "checkpoint", saved())


def test_a_site_model_is_private_whole_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    assert store.load_site(path) is None
    store.save_site(path, SiteModel())
    path.with_name("site.json.new").write_text("left by a crash")
    store.save_site(path, SiteModel(t_ns=7))
    found = store.load_site(path)
    assert found is not None and found.t_ns == 7
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["site.json"]
    path.write_text("half a fi")
    with pytest.raises(UserError, match=r"site\.json: cannot be read .* move it away"):
        store.load_site(path)
    with pytest.raises(UserError, match="cannot be written"):
        store.save_site(tmp_path / "no" / "folder" / "site.json", SiteModel())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_journal_gives_what_came_after_its_last_checkpoint(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        assert journal.saved is None and list(journal.messages()) == []
        journal.begin(a_checkpoint(b"one"), (1, 0))
        journal.write(Advance(t_ns=1))
        journal.begin(a_checkpoint(b"two"), (1, 4))
        assert names(tmp_path) == ["checkpoint", "journal-000002.tape"]
        journal.write(Advance(t_ns=2))
        journal.write(Advance(t_ns=3))
    with Journal(tmp_path) as journal:  # after a crash
        assert journal.saved is not None and journal.saved.checkpoint == a_checkpoint(b"two")
        assert (journal.saved.epoch, journal.saved.seq) == (1, 4)
        assert [m.t_ns for m in journal.messages()] == [2, 3]
    with (tmp_path / "journal-000002.tape").open("ab") as tape:
        tape.write(b"\x10\0\0\0torn")
    journal = Journal(tmp_path)
    assert [m.t_ns for m in journal.messages()] == [2, 3] and journal.damaged == 1


def test_a_journal_whose_checkpoint_fails_still_has_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, saved: wire.Saved) -> None:
        raise UserError("the disk is full")

    with Journal(tmp_path) as journal:
        journal.begin(a_checkpoint(b"one"), (1, 0))
        journal.write(Advance(t_ns=1))
        with monkeypatch.context() as patch:
            patch.setattr(store, "save_checkpoint", full)
            with pytest.raises(UserError):
                journal.begin(a_checkpoint(b"two"), (1, 4))
        journal.write(Advance(t_ns=2))
    again = Journal(tmp_path)
    assert again.saved is not None and again.saved.checkpoint.state == b"one"
    assert [m.t_ns for m in again.messages()] == [1, 2]


def test_a_checkpoint_that_is_there_but_not_for_sure_keeps_every_tape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tape was deleted and the old one went on, which the checkpoint does not read back."""

    def broken(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    with Journal(tmp_path) as journal:
        journal.begin(a_checkpoint(b"one"), (1, 0))
        first = (tmp_path / "checkpoint").read_bytes()
        journal.write(Advance(t_ns=1))
        with monkeypatch.context() as patch, pytest.raises(StorageError, match="cannot be put on disk"):
            patch.setattr(store, "sync_folder", broken)
            journal.begin(a_checkpoint(b"two"), (1, 4))
        assert not journal.is_open
        journal.write(Advance(t_ns=2))  # is in no tape, and nobody is told that it is safe
        journal.flush(sync=True)
        assert names(tmp_path) == ["checkpoint", "journal-000001.tape", "journal-000002.tape"]
        again = Journal(tmp_path)  # killed
        assert again.saved is not None and again.saved.checkpoint.state == b"two"
        assert list(again.messages()) == []
        (tmp_path / "before").mkdir()  # a power cut brings the old checkpoint back
        for tape in tmp_path.glob("*.tape"):
            (tmp_path / "before" / tape.name).write_bytes(tape.read_bytes())
        (tmp_path / "before" / "checkpoint").write_bytes(first)
        assert [m.t_ns for m in Journal(tmp_path / "before").messages()] == [1]
        journal.begin(a_checkpoint(b"three"), (1, 5))
        journal.write(Advance(t_ns=3))
        assert [path.name for _, path in store.tapes_in(tmp_path)] == ["journal-000003.tape"]
    assert [m.t_ns for m in Journal(tmp_path).messages()] == [3]


def test_tapes_are_kept_when_asked_for(tmp_path: Path) -> None:
    with Journal(tmp_path, keep_tapes=True) as journal:
        for t_ns in (1, 2, 3):
            journal.begin(a_checkpoint(), (1, t_ns))
            journal.write(Advance(t_ns=t_ns))
    assert [path.name for _, path in store.tapes_in(tmp_path)] == [
        f"journal-00000{n}.tape" for n in (1, 2, 3)
    ]
    assert [m.t_ns for m in Journal(tmp_path).messages()] == [3]


TAPES = Path(__file__).parent / "tapes"


@pytest.mark.parametrize("version", [1, 2])
def test_a_log_of_an_earlier_version_is_carried_over_with_all_its_events(
    tmp_path: Path, version: int
) -> None:
    """The logs were written by the program of their time."""
    path = tmp_path / "events.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript((TAPES / f"log_v{version}.sql").read_text())
        blobs = [blob for (blob,) in old.execute("SELECT blob FROM events ORDER BY epoch, seq")]
    with EventLog(path, started_ns=5 * S) as log:
        assert [wire.encode(event) for event in log.read()] == blobs and len(blobs) == 2
        assert log.largest_id() == 1
        assert places(log.append([appeared(2)], outcome("x", 2))) == [(5, 1)]
        assert log.prune(before_ns=2 * S) == 3 and log.largest_id() == 2
    with EventLog(path, started_ns=5 * S) as log:
        assert (
            log.count() == 0 and log.largest_id() == 2
        )  # numbers stay used when nothing names them any more


def test_of_a_log_that_is_too_large_the_oldest_goes_first_a_little_at_a_time(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        log.append([appeared(n, t_s=n, camera=f"place-{n}-" + "x" * 1000) for n in range(1, 401)])
        full = log.size_bytes
        assert full > 400_000
        assert log.prune(0, most_bytes=full) == 0
        assert log.prune(0, most_bytes=full // 2, at_once=100) == 100
        while log.prune(0, most_bytes=full // 2, at_once=100):
            pass
        left = [e.global_id for e in log.read() if isinstance(e, Appeared)]
        assert left == list(range(401 - len(left), 401)) and 180 < len(left) <= 200
        assert log.size_bytes <= full // 2
        assert b"place-200-" not in bytes_on_disk(tmp_path) and b"place-400-" in bytes_on_disk(tmp_path)
        assert log.lost_since((1, 0)) and not log.lost_since((1, 400))
        assert log.largest_id() == 400


def test_of_a_log_that_is_a_little_too_large_a_little_goes_and_nothing_that_a_checkpoint_needs(
    tmp_path: Path,
) -> None:
    """One byte too many took 5,000 events: of 1 MiB all, with those that the checkpoint did not know of."""
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        log.append([appeared(n, t_s=n, camera="x" * 1000) for n in range(1, 401)])
        assert 1 <= log.prune(0, most_bytes=log.size_bytes - 1) <= 2
        count = log.count()
        assert log.prune(0, most_bytes=1, through=(1, 300)) == count - 100
        assert log.prune(500 * S, most_bytes=1, through=(1, 300)) == 0  # nor by age
        assert places(log.read(limit=1)) == [(1, 301)]
        assert log.prune(500 * S, through=(2, 0)) == 100


def test_whoever_reads_the_log_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Emptying the WAL waited 5 s for a reader, and with it all that the linker does."""
    path = tmp_path / "events.sqlite"
    with EventLog(path, started_ns=S) as log, contextlib.closing(sqlite3.connect(path)) as reader:
        log.append([appeared(1, t_s=1, camera="secret-place"), appeared(2, t_s=9)])
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        waits = []  # what the log waits for others while it empties the WAL, in ms
        log._db.set_trace_callback(
            lambda sql: waits.append(sql) if "busy_timeout" in sql or "wal_" in sql else None
        )
        begin_s = time.monotonic()
        assert log.prune(before_ns=5 * S) == 1
        assert time.monotonic() - begin_s < 4.0
        off, empty = "PRAGMA busy_timeout = 0", "PRAGMA wal_checkpoint(TRUNCATE)"
        assert waits == [off, empty, "PRAGMA busy_timeout = 5000"]
        assert log.prune(before_ns=5 * S) == 0 and len(caplog.records) == 1  # tried again, and said once
        assert b"secret-place" in bytes_on_disk(tmp_path)
        reader.execute("COMMIT")
        log.prune(before_ns=5 * S)
        assert b"secret-place" not in bytes_on_disk(tmp_path)


@pytest.mark.parametrize(
    "read",
    [
        lambda log: log.outcome("x"),
        lambda log: log.lost_since((1, 0)),
        lambda log: log.size_bytes,
        lambda log: log.forgotten(),
        lambda log: log.count(),
        lambda log: log.largest_id(),
        lambda log: log.read(),
        lambda log: log.audit(),
        lambda log: log.speaks_of(1),
        lambda log: list(log.messages((0, 0), 1)),
    ],
)
def test_a_log_that_cannot_be_read_says_so(tmp_path: Path, read: Callable[[EventLog], object]) -> None:
    class Broken:
        def execute(self, *_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        whole, log._db = log._db, Broken()  # type: ignore[assignment]
        with pytest.raises(StorageError, match="cannot be read .disk I/O error"):
            read(log)
        log._db = whole


def test_tapes_that_are_kept_are_deleted_when_they_are_old_or_somebody_is_forgotten(tmp_path: Path) -> None:
    hour_ns = 3600 * S

    def begin(journal: Journal, t_ns: int, **how: bool) -> None:
        journal.begin(msgspec.structs.replace(a_checkpoint(), t_ns=t_ns), (1, 0), **how)
        journal.flush()
        newest = store.tapes_in(tmp_path)[-1][1]
        os.utime(newest, ns=(t_ns, t_ns))  # written last when the linker's clock said so

    with Journal(tmp_path, keep_tapes=True, keep_s=3600) as journal:
        for t_ns in (10 * hour_ns, 10 * hour_ns + 50 * 60 * S, 11 * hour_ns + 5 * 60 * S):
            begin(journal, t_ns)
        assert [n for n, _ in store.tapes_in(tmp_path)] == [2, 3]  # of 65, 15 and 0 minutes ago
        begin(journal, 11 * hour_ns + 6 * 60 * S, forget=True)
        assert [n for n, _ in store.tapes_in(tmp_path)] == [4]


def test_tapes_of_before_somebody_was_forgotten_go_in_the_next_life_if_this_one_ends_too_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the new checkpoint and the deletion of the tapes, it would not look at them again."""
    unlink = Path.unlink

    def killed(path: Path, **how: bool) -> None:
        if path.suffix == ".tape":
            raise OSError("killed")
        unlink(path, **how)

    with Journal(tmp_path, keep_tapes=True) as journal:
        journal.begin(a_checkpoint(), (1, 0))
        with monkeypatch.context() as patch, pytest.raises(StorageError, match="old tapes cannot be deleted"):
            patch.setattr(Path, "unlink", killed)
            journal.begin(a_checkpoint(), (1, 0), forget=True)
        assert [n for n, _ in store.tapes_in(tmp_path)] == [1, 2]
    with Journal(tmp_path, keep_tapes=True) as journal:
        journal.begin(a_checkpoint(), (1, 0))
        assert [n for n, _ in store.tapes_in(tmp_path)] == [2, 3]


def test_of_a_file_that_does_not_fit_on_the_disk_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint"
    store.save_checkpoint(path, saved(b"old"))
    write = os.write

    def half(file: int, data: Any) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return write(file, data[:20])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StorageError, match="cannot be written .*No space left.* free some disk space"):
        store.save_checkpoint(path, saved(b"new"))
    assert names(tmp_path) == ["checkpoint"] and store.load_checkpoint(path) == saved(b"old")
