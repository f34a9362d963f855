"""Cameras whose clocks are off, drift and jump: the demo as a linker hears it, through its own clocks and ordering."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.accuracy import Row, most
from benchmarks.linking import idf1_of, linked
from benchmarks.reliability.bench import Bench
from tracker import config
from tracker.build import build_linker
from tracker.evaluate import Boxes, camera_files, read_mot
from tracker.io.bus import Hub, local_endpoints
from tracker.io.clock import ReplayClock
from tracker.io.store import EventLog, Journal
from tracker.io.tape import TapeReader
from tracker.process import process
from tracker.roles.linking import LinkerLoop
from tracker.types import (
    Advance,
    CameraUpdate,
    Checkpoint,
    Command,
    Event,
    LinkerInput,
    TrackKey,
    Tracks,
    View,
)

Off = Callable[[str, float], float]  # camera, s since the beginning -> s that its clock is ahead

ROOT = Path(__file__).parents[2]
LEAST_WAY_S, MEAN_JAM_S = (
    0.08,
    0.03,
)  # from capture to the linker: inference and network, and what queues on the way
FPS = 10  # of the demo's clips
LOOKS = 64  # dimensions of the looks that are drawn where no network looks
SECOND_NS = 10**9
BEGIN_NS = (
    1_714_564_800 * SECOND_NS
)  # the same for all: who is joined first may hang on where a second begins


def run(bench: Bench) -> Row:
    """The same messages with their times as they are, and as clocks that are wrong would have said them."""
    # What a clock's offset and drift are is found while nobody is there yet: drift from the second minute on.
    prelude_s = bench.of(90, 300)
    length_s = bench.of(14, 25)
    middle_s, end_s = prelude_s + length_s / 2, prelude_s + length_s

    def off(camera_id: str, _: float) -> float:
        return {"court": 2.0, "gate": -2.0, "lane": 0.0}[camera_id]

    def drift(camera_id: str, at_s: float) -> float:
        return {"court": 200e-6, "gate": -200e-6, "lane": 0.0}[camera_id] * at_s

    def jump(camera_id: str, at_s: float) -> float:
        return -5.0 if camera_id == "court" and at_s >= middle_s else 0.0

    def everything(camera_id: str, at_s: float) -> float:
        return off(camera_id, at_s) + drift(camera_id, at_s) + jump(camera_id, at_s)

    with bench.folder() as folder:
        site = demo(folder, bench)
        process(site, folder / "out", to_s=length_s)
        tape = rising(m for m in TapeReader(folder / "out" / "linker.tape") if isinstance(m, CameraUpdate))
        truth = {
            name: until(read_mot(path), length_s)
            for name, path in camera_files([ROOT / "tracker/demo/truth"]).items()
        }
        plain, _, _ = told(site, tape, truth, bench, prelude_s, lambda *_: 0.0)
        figures: dict[str, float] = {"idf1_undisturbed": round(plain, 2)}
        cases: dict[str, Off] = {"all": everything}
        if bench.effort != "quick":
            cases |= {"offset_2s": off, "drift_200ppm": drift, "jump_5s_back": jump}
        lost, disordered, failed = [], 0, 0
        offset_errors_s, drift_errors_ppm = [], []
        for name, ahead in cases.items():
            idf1, seen, counts = told(site, tape, truth, bench, prelude_s, ahead)
            figures[f"idf1_{name}"] = round(idf1, 2)
            lost.append(plain - idf1)
            disordered += counts["disordered"]
            failed += counts["failed"]
            figures[f"late_{name}"] = counts["late"]
            for camera_id, clock in seen.items():
                offset_errors_s.append(abs(clock["worker_clock_offset_s"] - ahead(camera_id, end_s)))
                if (
                    abs(ahead(camera_id, end_s) - ahead(camera_id, 0.0)) < 1.0
                ):  # else it jumped: too new to say
                    # "Our clock runs faster" is the other's being slower.
                    ppm = -1e6 * (ahead(camera_id, end_s) - ahead(camera_id, end_s - 1.0))
                    drift_errors_ppm.append(abs(clock["worker_clock_drift_ppm"] - ppm))
    figures |= {
        "idf1_points_lost": round(max(lost), 2),
        "offset_error_s": round(max(offset_errors_s), 3),
        "drift_error_ppm": round(max(drift_errors_ppm), 1),
        "out_of_order": disordered,
        "failed": failed,
    }
    return Row(
        "clocks",
        figures,
        {
            "idf1_points_lost": most(1.0),
            # The shortest way is part of an offset: nobody can tell it from a clock that is behind by as much.
            "offset_error_s": most(LEAST_WAY_S + 0.02),
            "drift_error_ppm": most(50.0),
            "out_of_order": most(0),
            "failed": most(0),
        },
        bench.commands,
        note="demo clips, " + ("true boxes" if bench.effort == "quick" else "found by the networks"),
    )


def demo(folder: Path, bench: Bench) -> config.Site:
    """The demo; in quick mode its true boxes with looks drawn by chance, in place of networks."""
    cameras: dict[str, Any] = {}
    rng = bench.rng()
    people: dict[int, Any] = {}
    for name, path in sorted(camera_files([ROOT / "tracker/demo/truth"]).items()):
        cameras[name] = {
            "url": str(ROOT / f"tracker/demo/{name}.mp4"),
            "calibration": str(ROOT / f"tracker/demo/calibration/{name}.json"),
        }
        if bench.effort == "quick":
            boxes = read_mot(path)
            looks = np.zeros((len(boxes), LOOKS), np.float32)
            for n, person in enumerate(boxes.ids.tolist()):
                who = people.setdefault(person, rng.normal(size=LOOKS))
                looks[n] = who + 0.6 * rng.normal(size=LOOKS)
            np.savez(
                folder / f"{name}.npz",
                frame=boxes.frames,
                box=np.column_stack((boxes.boxes[:, :2], boxes.boxes[:, :2] + boxes.boxes[:, 2:])),
                score=np.full(len(boxes), 0.9),
                emb=looks,
                width=640,
                height=360,
                fps=float(FPS),
            )
            cameras[name]["url"] = str(folder / f"{name}.npz")
    values: dict[str, Any] = {"cameras": cameras, "store": {"keep_tapes": True}}
    if bench.effort == "quick":
        values |= {"detector": {"kind": "recorded"}, "embedder": {"kind": "none"}}
    return config.from_values(values, source="demo")


class Noted:
    """A linker that only notes what it is given; looked at afterwards."""

    def __init__(self) -> None:
        self.messages: list[LinkerInput] = []

    def step(self, message: LinkerInput) -> list[Event]:
        """Note it."""
        self.messages.append(message)
        return []

    def view(self) -> View:
        """Nobody."""
        return View(epoch=0, seq=0, t_ns=0, identities=())

    def checkpoint(self) -> Checkpoint:
        """Nothing."""
        return Checkpoint(schema_version=1, t_ns=0, model_hash="", state=b"")

    def restore(self, checkpoint: Checkpoint) -> None:
        """Nothing to do."""

    def objection(self, command: Command) -> str:
        """None."""
        return ""

    def identity_now(self, key: TrackKey) -> int | None:
        """Nobody's."""
        return None

    def start_after(self, global_id: int) -> None:
        """Nothing to do."""


def told(
    site: config.Site,
    tape: list[CameraUpdate],
    truth: dict[str, Boxes],
    bench: Bench,
    prelude_s: float,
    ahead: Off,
) -> tuple[float, dict[str, Any], dict[str, int]]:
    """IDF1 of what a linker makes of messages from clocks that are so far ahead, what it thinks of them, and counts."""
    begin_ns = BEGIN_NS
    clock = ReplayClock(begin_ns)
    noted = Noted()
    with bench.folder() as folder:
        with (
            EventLog(folder / "events.sqlite", started_ns=begin_ns) as events,
            Journal(folder) as journal,
            Hub(local_endpoints(folder)) as hub,
        ):
            loop = LinkerLoop(noted, hub, events, journal, cameras=list(site.cameras), clock=clock)
            second = begin_ns
            for arrived_ns, message in arrivals(tape, bench, prelude_s, begin_ns, ahead):
                clock.sleep_until(arrived_ns)
                loop._take(message)
                loop._apply_all(loop._order.advance(arrived_ns))
                if arrived_ns - second >= SECOND_NS:
                    second = arrived_ns
                    loop._apply_all(loop._order.put(Advance(t_ns=arrived_ns)))
            loop._apply_all(loop._order.flush())
            counters, cameras = loop.counters(), loop.cameras()
    last: dict[str, int] = {}
    disordered = 0
    for given in noted.messages:
        if isinstance(given, CameraUpdate):
            disordered += given.t_ns <= last.get(given.camera_id, 0)
            last[given.camera_id] = given.t_ns
    said = linked(noted.messages, build_linker(site), fill_gaps_s=site.process.fill_gaps_s).final()
    counts = {
        "disordered": disordered,
        "failed": int(counters["failed"]),
        "late": int(counters["late"]),
    }
    return idf1_of(truth, said), cameras, counts


def arrivals(
    tape: list[CameraUpdate], bench: Bench, prelude_s: float, begin_ns: int, ahead: Off
) -> Iterator[tuple[int, CameraUpdate]]:
    """What comes when, in the order of arrival; each camera's messages in their own."""
    rng = bench.rng()
    first_ns = min(message.t_ns for message in tape)
    cameras = sorted({message.camera_id for message in tape})
    nobody = Tracks.of(np.zeros(0), np.zeros((0, 4)), np.zeros(0))
    whole = [
        CameraUpdate(
            camera_id=camera_id,
            run=0,
            seq=0,
            t_ns=round(0.5 * n * SECOND_NS),
            tracks=nobody,
            tracklets=(),
            detected=True,
        )
        for n in range(round(2 * prelude_s))
        for camera_id in cameras
    ]
    whole += [moved(message, round(prelude_s * SECOND_NS) - first_ns) for message in tape]
    last_ns = dict.fromkeys(cameras, 0)
    found = []
    for n, message in enumerate(whole):
        way_s = LEAST_WAY_S + float(rng.exponential(MEAN_JAM_S))
        arrived_ns = max(begin_ns + message.t_ns + round(way_s * SECOND_NS), last_ns[message.camera_id] + 1)
        last_ns[message.camera_id] = arrived_ns
        off_ns = round(ahead(message.camera_id, message.t_ns / SECOND_NS) * SECOND_NS)
        found.append((arrived_ns, n, moved(message, begin_ns + off_ns)))
    for arrived_ns, _, message in sorted(found, key=lambda one: one[:2]):
        yield arrived_ns, message


def until(boxes: Boxes, length_s: float) -> Boxes:
    """The truth of a clip's beginning."""
    return boxes.where(boxes.frames <= length_s * FPS)


def rising(messages: Iterable[CameraUpdate]) -> list[CameraUpdate]:
    """As a worker sends them: a recording's last word has the time of its last frame, a worker's is later."""
    last: dict[str, int] = {}
    found = []
    for message in messages:
        late_ns = last.get(message.camera_id, -1) + 1 - message.t_ns
        found.append(
            message if late_ns <= 0 else msgspec.structs.replace(message, t_ns=message.t_ns + late_ns)
        )
        last[message.camera_id] = found[-1].t_ns
    return found


def moved(message: CameraUpdate, by_ns: int) -> CameraUpdate:
    """The same, said by a clock that is so far ahead."""
    return msgspec.structs.replace(
        message,
        t_ns=message.t_ns + by_ns,
        tracklets=tuple(
            msgspec.structs.replace(t, t_first_ns=t.t_first_ns + by_ns, t_last_ns=t.t_last_ns + by_ns)
            for t in message.tracklets
        ),
    )
