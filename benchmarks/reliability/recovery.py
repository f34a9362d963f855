"""A linker that is killed, again and again: it serves again at once, with the same people, and nothing is lost."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.accuracy import Row, least, most
from benchmarks.reliability.bench import Bench, CannotRun
from benchmarks.reliability.linkers import (
    Ear,
    Place,
    Told,
    a_linker,
    lay_down,
    remembered,
    taken_in,
    tracklet,
    update,
    wait_for,
)
from tracker.io.bus import Uplink
from tracker.types import TrackKey, View

SERVES_S = 2.0
SERVES_WALL_S = (
    10.0  # what waits for nothing takes as long as it works, and the disk and the system some more
)
PAUSE_S = 0.05  # between two people who come: a busy hall


def run(bench: Bench) -> Row:
    """Killed with thousands of identities; then killed at random instants while people come."""
    if not Path("/proc").is_dir():
        raise CannotRun("what a process has worked is read from /proc")
    logging.getLogger("tracker").setLevel(logging.ERROR)
    figures = _with_many(bench) | _in_traffic(bench)
    wanted = {
        "same ids, %": least(100),
        "serving again, s of one core": bench.within(SERVES_S),
        "serving again, s as it was": bench.within(SERVES_WALL_S),
        "acknowledged tracklets lost": most(0),
        "acknowledged tracklets told twice": most(0),
        "events heard and not in the log": most(0),
        "events in the log and not heard": most(0),
        "ids of two people": most(0),
    }
    return Row("recovery", figures, wanted)


def _with_many(bench: Bench) -> dict[str, float]:
    count = bench.of(quick=1_000, full=10_000)
    with bench.folder() as folder, a_linker(folder) as place:
        lay_down(place, *remembered(count, time.time_ns()))
        place.start()
        before = _people(place.view())
        with place.uplink() as uplink:  # and somebody after the checkpoint
            now_ns = time.time_ns()
            uplink.send(update(1, now_ns, [tracklet(count + 1, now_ns, ended=True)]), time.monotonic())
            taken_in(uplink)
        before |= _people(place.view())
        place.kill()
        begin_s = time.monotonic()
        bench.commands.append(" ".join(place.start_from_shell()))
        after = _people(place.view())
        wall_s = time.monotonic() - begin_s
        worked_s = _worked_s(place.pid)
    same = sum(after.get(g) == person for g, person in before.items())
    return {
        "identities": len(before),
        "same ids, %": round(100 * same / max(len(before), count + 1), 3),
        "serving again, s of one core": round(worked_s, 2),
        "serving again, s as it was": round(wall_s, 2),
    }


def _people(view: View) -> dict[int, tuple[object, ...]]:
    return {p.global_id: (p.first, p.name) for p in view.identities}


def _worked_s(pid: int) -> float:
    """Processor seconds of a process so far: what other programs take meanwhile does not count."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _in_traffic(bench: Bench) -> dict[str, float]:
    kills, rng = bench.of(quick=5, full=200), bench.rng()
    with bench.folder() as folder, a_linker(folder, store={"checkpoint_s": 0.3}) as place:
        place.start()
        with Ear(place) as ear, place.uplink() as uplink:
            ended: list[TrackKey] = []
            for _ in range(kills):
                # Some are killed before they serve, some while they save.
                _people_come(uplink, ended, for_s=float(rng.uniform(0.0, 0.8)))
                place.kill()
                place.start()
            complete = taken_in(uplink)
            place.view()
            place.stop()
            logged = place.logged()
            wait_for(lambda: len(ear.heard) >= len(logged), _restarted(place))
    told = Told.by(logged)
    lost = [key for key in ended if key not in told.identity] if complete else ended
    heard = {(e.epoch, e.seq): e for e in ear.heard}
    written = {(e.epoch, e.seq): e for e in logged}
    return {
        "kills": kills,
        "tracklets": len(ended),
        "events": len(logged),
        "acknowledged tracklets lost": len(lost),
        "acknowledged tracklets told twice": sum(told.times[key] > 1 for key in told.times),
        "events heard and not in the log": sum(written.get(at) != e for at, e in heard.items()),
        "events in the log and not heard": len(written.keys() - heard.keys()),
        "ids of two people": len(ended) - len({told.identity.get(key) for key in ended}),
    }


def _restarted(place: Place) -> Callable[[], object]:
    """The linker again, for whoever has not yet heard everything."""
    place.start()
    return lambda: time.sleep(0.05)


def _people_come(uplink: Uplink, ended: list[TrackKey], *, for_s: float) -> None:
    """One after the other, each seen twice: first while there, then as ended."""
    until_s = time.monotonic() + for_s
    while (now_s := time.monotonic()) < until_s:
        person, now_ns = len(ended) + 1, time.time_ns()
        uplink.send(update(2 * person, now_ns, [tracklet(person, now_ns)]), now_s)
        uplink.send(update(2 * person + 1, now_ns + 1, [tracklet(person, now_ns, ended=True)]), now_s)
        ended.append(TrackKey(camera_id="a", run=1, number=person))
        uplink.repeat(now_s)
        uplink.poll(PAUSE_S)
