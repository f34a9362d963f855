"""Whoever is forgotten is in no byte of any file: looks in any form, numbers, tracklets, names.

A linker process with its tapes kept, people it remembers and people who are here, merged, split and named ones; it is
killed while it forgets, and killed when it has answered. Then every file it ever wrote is searched: for the numbers of
who is forgotten as wire, log and arrays write them, for names, and for stretches that point the way of their looks,
whatever was taken off or multiplied, as half, single and double floats and as msgpack's. Only the log's own file may
hold a number yet: the audit keeps it, and so may the unused part of an index.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from benchmarks.accuracy import Row, least, most
from benchmarks.reliability.bench import Bench
from benchmarks.reliability.linkers import (
    DIMENSIONS,
    Place,
    a_linker,
    lay_down,
    looks,
    remembered,
    taken_in,
    tracklet,
    update,
)
from tracker.errors import UserError
from tracker.io.bus import Operator, Uplink
from tracker.io.store import EventLog
from tracker.types import Command, TrackKey, global_id_of

SITE = 0x5A17  # its numbers are eight bytes that nothing else is
FIRST = 0x7171717100000001  # and so are those of its tracklets
ALIKE = 0.5  # cosine; people here are nearly at right angles


def run(bench: Bench) -> Row:
    """Forget people of every kind, and search all files for them and, to prove the search, for others."""
    logging.getLogger("tracker").setLevel(logging.CRITICAL)
    rounds = bench.of(quick=1, full=5, release=20)
    found = _Found()
    with bench.folder() as folder, a_linker(folder, number=SITE, store={"keep_tapes": True}) as place:
        _people(place)
        place.start()
        with place.uplink() as uplink:
            for n in range(rounds):
                _round(place, uplink, n, bench.rng(), found)
        place.stop()
        found.search(place, "after the end")
        with EventLog(place.out / "events.sqlite", started_ns=0) as log:
            unsaid = len(found.asked - set(log.forgotten()))
            spoken_of = sum(map(log.speaks_of, found.forgotten.values()))
    figures = {
        "people forgotten": len(found.forgotten),
        "bytes searched, MB": round(found.searched / 1e6, 1),
        **{f"{what} left": count for what, count in found.left.items()},
        "events left": spoken_of,
        "not in the audit": unsaid,
        "others found, %": round(100 * found.others_found / found.others, 1),
    }
    wanted = dict.fromkeys(
        (*(f"{what} left" for what in found.left), "events left", "not in the audit"), most(0)
    )
    return Row("forgetting", figures, wanted | {"others found, %": least(100)})


def _people(place: Place) -> None:
    lay_down(place, *remembered(40, time.time_ns(), site=SITE, first=FIRST))


def _round(place: Place, uplink: Uplink, n: int, rng: np.random.Generator, found: _Found) -> None:
    """Ten more come; then somebody long gone, somebody just left, and one who was two are forgotten."""
    here = [FIRST + 100 + 10 * n + i for i in range(10)]
    for person in here:
        now_ns = time.time_ns()
        uplink.send(update(person - FIRST, now_ns, [tracklet(person, now_ns, ended=True)]), time.monotonic())
        uplink.poll(0.01)
    taken_in(uplink)
    with Operator(place.site.bus.replay, timeout_s=60) as operator:
        ids = {key.number: p.global_id for p in operator.view().identities for key in p.tracks}
        ada, bob, cy, dan = (ids[person] for person in here[:4])
        operator.command("name", ada, name=_name(here[0]))
        operator.command("merge", ada, bob)
        operator.command("name", cy, name=_name(here[2]))
        operator.command("merge", cy, dan)
        operator.command("split", cy, track_keys=[TrackKey(camera_id="a", run=1, number=here[3])])
        gone = FIRST + 2 * n  # remembered from before
        # Answered, then killed: what the answer promised must be true of the files as they are.
        operator.command("forget", ada)
        found.add(here[0], ada)
        found.add(here[1], bob)
        found.asked.add(ada)
    place.kill()
    found.search(place, "killed after the answer")
    found.search_for(place, here[2], cy, _name(here[2]))
    place.start()
    # Killed before the answer, and asked again.
    for person, number in ((here[2], cy), (gone, global_id_of(SITE, 2 * n + 1))):
        command = Command(t_ns=0, verb="forget", global_ids=(number,), id=uuid.uuid4().hex)
        with Operator(place.site.bus.replay, timeout_s=float(rng.uniform(0.0, 0.1))) as operator:
            try:
                operator.send(command)
            except UserError:
                place.kill()
                place.start()
        with Operator(place.site.bus.replay, timeout_s=60) as operator:
            operator.send(command)
        found.add(person, number)
        found.asked.add(number)
    place.kill()
    found.search(place, "killed in the middle")
    place.start()
    place.view()


def _name(person: int) -> str:
    return f"Zebedee-of-{person % 100_000}"


class _Found:
    """Who is forgotten, and what was found of them."""

    def __init__(self) -> None:
        self.forgotten: dict[int, int] = {}  # person -> number
        self.asked: set[int] = set()
        self.left = {"looks": 0, "numbers": 0, "tracklets": 0, "names": 0}
        self.searched = self.others = self.others_found = 0

    def add(self, person: int, number: int) -> None:
        self.forgotten[person] = number

    def search(self, place: Place, when: str) -> None:
        """Every file, for everybody who is forgotten."""
        rows = np.array([looks(person) for person in self.forgotten])
        for path in sorted(path for path in place.out.rglob("*") if path.is_file()):
            data = path.read_bytes()
            self.searched += len(data)
            counts = {
                "looks": alike(data, rows),
                "numbers": 0 if path.name.startswith("events.sqlite") else self._numbers(data),
                "tracklets": sum(_held(data, person) for person in self.forgotten),
                "names": sum(data.count(_name(person).encode()) for person in self.forgotten),
            }
            for what, count in counts.items():
                if count:
                    print(f"{when}: {count} {what} in {path.name}", flush=True)
                self.left[what] += count

    def _numbers(self, data: bytes) -> int:
        return sum(_held(data, number) for number in self.forgotten.values())

    def search_for(self, place: Place, person: int, number: int, name: str) -> None:
        """Somebody who is not forgotten: the search must find all that there is of them."""
        data = b"".join(path.read_bytes() for path in sorted(place.out.rglob("*")) if path.is_file())
        self.others += 4
        self.others_found += bool(alike(data, looks(person)[None])) + bool(_held(data, number))
        self.others_found += bool(_held(data, person)) + (name.encode() in data)


def _held(data: bytes, number: int) -> int:
    """How often a number is there, in msgpack's and SQLite's order or in an array's."""
    return data.count(number.to_bytes(8, "big")) + data.count(number.to_bytes(8, "little"))


def alike(data: bytes, rows: NDArray[np.float32]) -> int:
    """Stretches of the bytes that, read as floats, point the way of one of the rows (N, D)."""
    found = 0
    for values in _as_floats(data):
        if len(values) < DIMENSIONS:
            continue
        power = np.concatenate(([0.0], np.cumsum(values**2)))
        norm = np.sqrt(np.maximum(power[DIMENSIONS:] - power[:-DIMENSIONS], 0.0))
        for row in rows:
            dot = fftconvolve(values, row[::-1].astype(np.float64), mode="valid")
            # Below a length of 0.01 it is rounding that points somewhere.
            found += int(np.count_nonzero((norm > 0.01) & (np.abs(dot) > ALIKE * norm)))
    return found


def _as_floats(data: bytes) -> Iterator[NDArray[np.float64]]:
    """The bytes read as each kind of float from each offset; what is no number of a look counts 0."""
    raw = np.frombuffer(data, np.uint8)
    for kind, head in (("<f2", b""), ("<f4", b""), ("<f8", b""), (">f4", b"\xca"), (">f8", b"\xcb")):
        width = np.dtype(kind).itemsize + len(head)
        for offset in range(min(width, len(raw))):
            table = raw[offset : offset + (len(raw) - offset) // width * width].reshape(-1, width)
            with np.errstate(all="ignore"):
                values = np.ascontiguousarray(table[:, len(head) :]).view(kind)[:, 0].astype(np.float64)
                is_look = np.abs(values) <= 2
            if head:
                is_look &= table[:, 0] == head[0]
            if is_look.sum() >= DIMENSIONS:
                yield np.where(is_look, values, 0.0)
