"""The power fails at any instant: of what was promised until then all is there, and no number is used twice.

A linker process records every write and every fsync of its own and of SQLite's while people come and an operator
speaks. For many instants the disk is laid down as it may be after a cut there: what was not synced is there in
part, torn, or rubbish (`storage.py`). From each of these the linker must go on.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import Row, most
from benchmarks.reliability.bench import Bench, CannotRun
from benchmarks.reliability.linkers import (
    CAMERAS,
    Place,
    Told,
    a_linker,
    all_of,
    taken_in,
    tracklet,
    update,
)
from benchmarks.reliability.storage import Op, Recorder, after_a_power_cut
from tracker.build import build_linker
from tracker.config import from_values
from tracker.errors import UserError
from tracker.io import wire
from tracker.io.bus import Hub, Operator, local_endpoints
from tracker.io.clock import WallClock
from tracker.io.store import EventLog, Journal
from tracker.roles.linking import LinkerLoop, linker
from tracker.types import Event, Merged, TrackKey

log = logging.getLogger(__name__)


def run(bench: Bench) -> Row:
    """Record one life of a linker, cut it at random instants, and go on from each."""
    logging.getLogger("tracker").setLevel(logging.ERROR)
    with bench.folder() as folder, a_linker(folder, store={"checkpoint_s": 0.15}) as place:
        ops = _recorded(place, people=bench.of(quick=40, full=200))
    cuts, rng, found = bench.of(quick=25, full=200, release=2000), bench.rng(), _Found(_forgotten(ops))
    for place_of_cut in sorted(rng.integers(1, len(ops), cuts).tolist()):
        with bench.folder() as folder:
            found.look(ops[:place_of_cut], after_a_power_cut(ops[:place_of_cut], rng), folder)
    figures = {
        "cuts": cuts,
        "writes": sum(op.what == "write" for op in ops),
        "fsyncs": sum(op.what in ("sync", "names") for op in ops),
        **found.figures(),
    }
    return Row("power_cut", figures, dict.fromkeys(found.figures(), most(0)))


def _recorded(place: Place, people: int) -> list[Op]:
    """One life of a linker: people come, and an operator speaks now and then."""
    path = place.folder / "ops"
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(place.values, path), daemon=True
    )
    process.start()
    place.process = process
    place.view()
    with place.uplink(repeat_s=0.05) as uplink, Operator(place.site.bus.replay, timeout_s=60) as operator:
        for person in range(1, people + 1):
            now_ns = time.time_ns()
            uplink.send(update(2 * person, now_ns, [tracklet(person, now_ns)]), time.monotonic())
            ended = tracklet(person, now_ns, ended=True)
            uplink.send(update(2 * person + 1, now_ns + 1, [ended]), time.monotonic())
            if person % 20 == 0:
                taken_in(uplink)
                ids = [p.global_id for p in operator.view().identities]
                operator.command("merge", ids[-2], ids[-1])
                operator.command("name", ids[-3], name=f"number {ids[-3]}")
                operator.command("forget", ids[0])
            uplink.repeat(time.monotonic())
            uplink.poll(0.005)
        taken_in(uplink)
    place.stop()
    if not path.exists():
        raise CannotRun("SQLite is no library of its own in this Python, so its writes cannot be recorded")
    # Of our own child, in a folder that only we may enter.
    recorded: list[Op] = pickle.loads(path.read_bytes())
    return recorded


def _serve(values: dict[str, Any], path: Path) -> None:
    """A linker that records what it writes, and what it has said to others by then."""
    site = from_values(values, source="the bench")
    out = Path(site.live.out)
    try:
        recorder = Recorder(out)
    except OSError:
        return
    publish, acknowledge, answer, publish_boxes = Hub.publish, Hub.acknowledge, Hub.answer, Hub.publish_boxes

    def published(self: Hub, events: Iterable[Event]) -> None:
        events = list(events)
        recorder.mark(("told", events))
        publish(self, events)

    def acknowledged(self: Hub, keys: Sequence[TrackKey]) -> None:
        recorder.mark(("safe", list(keys)))
        acknowledge(self, keys)

    def answered(self: Hub, address: list[bytes], reply: wire.Answer | bytes) -> None:
        if isinstance(reply, wire.Outcome):
            recorder.mark(("obeyed", reply.id, reply.verb, reply.global_ids))
        answer(self, address, reply)

    def boxes_told(self: Hub, boxes: wire.Boxes) -> None:
        recorder.mark(("shown", boxes.global_ids.tolist()))
        publish_boxes(self, boxes)

    Hub.publish, Hub.acknowledge, Hub.answer, Hub.publish_boxes = (  # type: ignore[method-assign]
        *(published, acknowledged, answered, boxes_told),
    )
    linker(site, out)
    path.write_bytes(pickle.dumps(recorder.ops))


def _forgotten(ops: list[Op]) -> dict[int, int]:
    """Whom an operator had forgotten, under all numbers, with the one that was asked for."""
    marks = [op.mark for op in ops if op.what == "mark"]
    merged = [e for mark in marks if mark[0] == "told" for e in mark[1] if isinstance(e, Merged)]
    found = {g: g for mark in marks if mark[0] == "obeyed" and mark[2] == "forget" for g in mark[3]}
    for event in reversed(merged):
        if event.kept in found:
            found[event.absorbed] = found[event.kept]
    return found


class _Found:
    """What was wrong after the cuts, all told."""

    def __init__(self, forgotten: dict[int, int]) -> None:
        self._forgotten = forgotten
        self.unopened = self.events = self.tracklets = self.commands = self.reused = self.remembered = (
            self.unnamed
        ) = 0

    def figures(self) -> dict[str, float]:
        return {
            "did not open": self.unopened,
            "published events lost": self.events,
            "acknowledged tracklets lost": self.tracklets,
            "acknowledged before they were told": self.unnamed,
            "answered commands lost": self.commands,
            "forgotten people still there": self.remembered,
            "ids used again": self.reused,
        }

    def look(self, ops: list[Op], files: dict[str, bytes], folder: Path) -> None:
        """Go on from the files of one cut."""
        marks = [op.mark for op in ops if op.what == "mark"]
        told: list[Event] = [event for mark in marks if mark[0] == "told" for event in mark[1]]
        asked = {g for mark in marks if mark[0] == "obeyed" and mark[2] == "forget" for g in mark[3]}
        forgotten = {g for g, by in self._forgotten.items() if by in asked}
        everything = told
        used = Told.by(told).used | {g for mark in marks if mark[0] == "shown" for g in mark[1] if g}
        for name, data in files.items():
            (folder / name).write_bytes(data)
        site = from_values(
            {"cameras": dict.fromkeys(CAMERAS, "0"), "embedder": {"kind": "none"}}, source="cut"
        )
        try:
            with (
                EventLog(folder / "events.sqlite", started_ns=time.time_ns()) as events,
                Journal(folder) as journal,
                Hub(local_endpoints(folder)) as hub,
            ):
                loop = LinkerLoop(build_linker(site), hub, events, journal, cameras=[], clock=WallClock())
                kept = list(all_of(events))
                by_place = {(e.epoch, e.seq): e for e in kept}
                now_ns = time.time_ns()
                somebody = tracklet(999_999, now_ns)
                loop._take(update(1, now_ns, [somebody]))
                loop._apply_all(loop._order.flush())
                loop.commit()
                new = Told.by(events.read((events.epoch, 0), 100_000)).identity[somebody.key]
                audit = {outcome.id for outcome in events.audit(limit=100_000)}
        except (UserError, KeyError) as error:
            log.error("after a cut: %s", error)
            self.unopened += 1
            return
        # Whoever is forgotten later may be half forgotten by now.
        told = [e for e in told if not Told.about(e) & self._forgotten.keys()]
        promised = {key for mark in marks if mark[0] == "safe" for key in mark[1]}
        self.events += sum(by_place.get((e.epoch, e.seq)) != e for e in told)
        self.tracklets += len((promised & Told.by(told).identity.keys()) - Told.by(kept).identity.keys())
        self.unnamed += len(promised - Told.by(everything).identity.keys())
        self.commands += sum(mark[1] not in audit for mark in marks if mark[0] == "obeyed")
        self.remembered += sum(bool(forgotten & Told.about(e)) for e in kept)
        self.reused += new in used
