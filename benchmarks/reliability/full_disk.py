"""A disk that is full for a while: tracking goes on, nothing is told that is not on disk, and nothing is lost.

Fullness is staged by the system: the linker process may not write one byte to any file (RLIMIT_FSIZE), then it
may again.
"""

from __future__ import annotations

import logging
import time

import zmq

from benchmarks.accuracy import Row, most
from benchmarks.reliability.bench import Bench, CannotRun
from benchmarks.reliability.linkers import (
    PATIENCE_S,
    Ear,
    Place,
    Told,
    a_linker,
    taken_in,
    tracklet,
    update,
    wait_for,
)
from tracker.errors import UserError
from tracker.io.bus import Operator, Uplink
from tracker.types import TrackKey

BACK_S = 5.0  # two tries at the pause that the linker takes between them, and a second


def run(bench: Bench) -> Row:
    """People come before, during and after; in the middle of the second time it is killed as well."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_FSIZE, prlimit
    except ImportError as error:
        raise CannotRun("how much a process may write is set by prlimit, which is Linux's") from error
    logging.getLogger("tracker").setLevel(logging.CRITICAL)
    rounds, back_s = bench.of(quick=1, full=20), []
    ended: list[TrackKey] = []
    early = boxes_seen = commands = 0
    with bench.folder() as folder, a_linker(folder, store={"checkpoint_s": 0.5}) as place:
        place.start()
        place.view()
        with (
            Ear(place) as ear,
            place.uplink() as uplink,
            zmq.Context() as context,
            context.socket(zmq.SUB) as boxes,
        ):
            boxes.connect(place.site.bus.boxes)
            boxes.subscribe(b"boxes/")
            for n in range(rounds):
                _come(uplink, ended, 5)
                taken_in(uplink)
                prlimit(place.pid, RLIMIT_FSIZE, (0, RLIM_INFINITY))
                while boxes.poll(0):
                    boxes.recv_multipart()
                _come(uplink, ended, 5)
                commands += _obeyed_until_refused(place, uplink)
                early += 5 - uplink.pending
                boxes_seen += bool(boxes.poll(1000))
                if n % 2:
                    place.kill()  # the limit dies with it
                    place.start()
                else:
                    prlimit(place.pid, RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))
                begin_s = time.monotonic()
                if not taken_in(uplink):
                    break
                back_s.append(time.monotonic() - begin_s)
            _come(uplink, ended, 5)
            complete = taken_in(uplink)
            time_to_hear = wait_for(
                lambda: len(Told.by(ear.heard).times) >= len(ended), lambda: time.sleep(0.05)
            )
            place.stop()
        logged = place.logged()
    told, written = Told.by(logged), {(e.epoch, e.seq): e for e in logged}
    figures = {
        "times full": rounds,
        "tracklets": len(ended),
        "tracklets lost": len(set(ended) - told.identity.keys()) if complete and time_to_hear else len(ended),
        "tracklets told twice": sum(times > 1 for times in told.times.values()),
        "acknowledged while full": early,
        "commands obeyed while full": commands,
        "events heard and not in the log": sum(written.get((e.epoch, e.seq)) != e for e in ear.heard),
        "times no boxes came while full": rounds - boxes_seen,
        "acknowledging again, s at most": round(max(back_s, default=float("nan")), 2),
    }
    none = (
        *("tracklets lost", "tracklets told twice", "acknowledged while full", "commands obeyed while full"),
        *(
            "events heard and not in the log",
            "times no boxes came while full",
        ),
    )
    wanted = dict.fromkeys(none, most(0))
    return Row("full_disk", figures, wanted | {"acknowledging again, s at most": bench.within(BACK_S)})


def _come(uplink: Uplink, ended: list[TrackKey], count: int) -> None:
    """So many people who have been and gone."""
    for _ in range(count):
        person, now_ns = len(ended) + 1, time.time_ns()
        uplink.send(update(person, now_ns, [tracklet(person, now_ns, ended=True)]), time.monotonic())
        ended.append(TrackKey(camera_id="a", run=1, number=person))


def _obeyed_until_refused(place: Place, uplink: Uplink) -> int:
    """How many commands are obeyed until one is refused because nothing can be put on disk; workers ask on."""
    obeyed, refused = 0, False

    def ask() -> None:
        nonlocal obeyed, refused
        uplink.repeat(time.monotonic())
        uplink.poll(0.02)
        try:
            with Operator(place.site.bus.replay, timeout_s=PATIENCE_S) as operator:
                obeyed += operator.command("name", 1, name="Ada").obeyed
        except UserError as error:
            refused = "nothing can be put on disk" in str(error)

    wait_for(lambda: refused, ask)
    return obeyed
