"""The linker at scale, on people who are simulated and never drawn: identities, decisions, milliseconds and memory.

    python -m benchmarks.link_scale [--only NAME ...] [--json FILE] [--work DIR]

People walk through places of `scenes.traffic`, real camera trackers follow them on boxes and looks that err as a
detector and the shipped embedder do (`benchmarks.filmed`), and what the trackers tell is kept as a tape in ``--work``:
a row that is run again, after a change of the linker, costs the linker's time only. A tape is made anew when the code
that made it changes. Tables go to the terminal, plots to ``--work``. Steps are timed in processor time, which other
programs disturb little; with OPENBLAS_NUM_THREADS=1 it is that of one core.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import os
import pstats
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Row, as_json, as_text, least, measure, most
from benchmarks.appearance_noise import equal_error
from benchmarks.chart import draw
from benchmarks.filmed import said_boxes
from benchmarks.link_tapes import (
    NOISES,
    PASS_S,
    Site,
    Taped,
    again,
    busy_site,
    campus_site,
    crossing_site,
    held_out,
    past,
    taped,
)
from reid.calibrate import reliability
from scenes.appearance import UNSEEN_SITE, Noise
from tracker.config import LinkSettings
from tracker.core.ledger import Ledger
from tracker.core.linker import Linker
from tracker.evaluate import CrossCameraScores, prepare, score_across
from tracker.types import (
    CameraUpdate,
    Event,
    HandedOver,
    Merged,
    Split,
    TrackKey,
    Tracklet,
)

F = NDArray[np.float64]
FORGETS_NOBODY = LinkSettings(remember_s=1e9)
RETURNED_S = 3.0  # away from a camera for longer: a new visit


def accepting(false_merge_rate: float | None) -> LinkSettings:
    """The linker's settings for an accepted share of wrong joins, its own where None.

    This and `accepted` are the one place that knows how it is said.
    """
    return LinkSettings() if false_merge_rate is None else LinkSettings(false_merge_rate=false_merge_rate)


def accepted(settings: LinkSettings) -> float:
    """The share of wrong joins that settings accept at most."""
    return settings.false_merge_rate


# ---- what the linker makes of them -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """The linker said how probable it is that it is right."""

    kind: str  # handed over, runner-up, merged, split
    probability: float
    is_right: bool  # the truth


class Judge:
    """Follows a linker's events and holds its decisions against the truth.

    An identity is whom most of its tracklets' boxes show at the time of the decision.
    """

    def __init__(self, taped: Taped) -> None:
        self.taped = taped
        self.ledger = Ledger()
        self.decisions: list[Decision] = []
        self._keys: dict[int, set[TrackKey]] = {}  # by identity

    def follow(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case HandedOver():
                self._judge("handed over", event, {event.track}, event.global_id)
                told = event.evidence
                if told is not None and told.runner_up is not None and told.runner_up_probability is not None:
                    self._claim("runner-up", told.runner_up_probability, {event.track}, told.runner_up)
            case Merged():
                self._judge("merged", event, set(event.tracks), event.kept)
            case Split():
                if self._keys.get(event.to):
                    self._judge("split", event, set(event.tracks), event.to)
                else:  # somebody new: it is said how surely they are not whom they were taken for
                    self._judge("split", event, set(event.tracks), event.global_id, is_one=False)
        self.ledger.follow(event)
        if isinstance(event, Merged):
            self._keys.setdefault(event.kept, set()).update(self._keys.pop(event.absorbed, set()))
        for key in _tracks_of(event):
            for keys in self._keys.values():
                keys.discard(key)
            identity = self.ledger.identity_of(key)
            assert identity is not None  # the ledger has just been told
            self._keys.setdefault(identity, set()).add(key)

    def _judge(
        self,
        kind: str,
        event: HandedOver | Merged | Split,
        keys: set[TrackKey],
        to: int,
        *,
        is_one: bool = True,
    ) -> None:
        if event.evidence is not None:
            self._claim(kind, event.evidence.probability, keys, to, is_one=is_one)

    def _claim(
        self, kind: str, probability: float, keys: set[TrackKey], to: int, *, is_one: bool = True
    ) -> None:
        """Somebody said that tracklets are, or are not, of the person of an identity, as it was before."""
        mine, theirs = self.person(keys), self.person(self._keys.get(to, set()) - keys)
        if mine is not None and theirs is not None:
            self.decisions.append(Decision(kind, probability, (mine == theirs) == is_one))

    def person_of(self, identity: int) -> int | None:
        """Whom most boxes of an identity show by now."""
        return self.person(self._keys.get(identity, set()))

    def person(self, keys: Iterable[TrackKey]) -> int | None:
        """Whom most boxes of tracklets show; None where nobody is under them."""
        boxes: Counter[int] = Counter()
        for key in sorted(keys):
            boxes.update(self.taped.shown(key, self.ledger.until_ns(key)))
        return boxes.most_common(1)[0][0] if boxes else None

    def wrong_joins(self) -> tuple[int, int]:
        """Of the identities in the end: tracklets joined to others', and those of them who are somebody else."""
        people: dict[int, Counter[int]] = {}
        for key, identity in self.ledger.tracks().items():
            if (person := self.person([key])) is not None:
                people.setdefault(identity, Counter())[person] += 1
        joins = sum(counts.total() - 1 for counts in people.values())
        wrong = sum(counts.total() - max(counts.values()) for counts in people.values())
        return joins, wrong


def _tracks_of(event: Event) -> tuple[TrackKey, ...]:
    """The tracklets whose identity an event changes."""
    if isinstance(event, Merged | Split):
        return event.tracks
    track = getattr(event, "track", None)
    return () if track is None else (track,)


@dataclass(frozen=True)
class Run:
    """One linker's whole tape."""

    judge: Judge
    step_ms: F  # (N,) processor time of each message


def linked(tape: Taped, settings: LinkSettings) -> Run:
    """A new linker on a whole tape."""
    linker, judge, spent = Linker(settings), Judge(tape), []
    for message in tape:
        start = time.process_time()
        events = linker.step(message)
        spent.append(time.process_time() - start)
        for event in events:
            judge.follow(event)
    return Run(judge, 1e3 * np.array(spent))


def scored(tape: Taped, ledger: Ledger) -> CrossCameraScores:
    """The identities in the end against the truth, once in `SCORED_EVERY_S`."""
    updates = (message for message in tape if isinstance(message, CameraUpdate))
    gap = round(RETURNED_S * tape.fps / tape.every)
    said = said_boxes(updates, ledger, tape.every)
    return score_across(*prepare(tape.truth, said), gap_frames=gap)


def looks_error(tape: Taped) -> float:
    """Share of pairs of tracklets in two cameras that their looks mistake, where both errors are as frequent.

    NaN where there are no pairs of both kinds.
    """
    last: dict[TrackKey, Tracklet] = {}
    for message in tape:
        if isinstance(message, CameraUpdate):
            last |= {one.key: one for one in message.tracklets}
    told = [one for key, one in last.items() if len(one.mean_embedding) and key in tape.boxes]
    rows = np.array([one.mean_embedding for one in told])
    who = np.array([tape.person(one.key) for one in told])
    where = np.array([one.key.camera_id for one in told])
    a, b = np.triu_indices(len(told), 1)
    across = where[a] != where[b]
    a, b = a[across], b[across]
    same = who[a] == who[b]
    if same.all() or not same.any():
        return float("nan")
    distance = 1 - (rows @ rows.T)[a, b]
    return equal_error(distance[same], distance[~same])


def told_of(tape: Taped, settings: LinkSettings) -> dict[str, float]:
    """Figures of a new linker on a tape: identities, decisions and time."""
    run = linked(tape, settings)
    found, (joins, wrong) = scored(tape, run.judge.ledger), run.judge.wrong_joins()
    ledger = run.judge.ledger
    identities = set(ledger.tracks().values())
    unsure = {g for g in identities if ledger.is_unsure(g)}
    boxes: Counter[bool] = Counter()
    for key, identity in ledger.tracks().items():
        boxes[identity in unsure] += tape.shown(key, ledger.until_ns(key)).total()
    return {
        "identities": len(identities - unsure),
        "unsure": len(unsure),
        "unsure boxes %": 100 * boxes[True] / max(boxes.total(), 1),
        "people": found.persons,
        "IDF1": 100 * found.idf1,
        "IDF1 limit": 100 * found.idf1_limit,
        "hand-overs kept %": 100 * found.hand_over_recall,
        "hand-overs": found.hand_overs,
        "returns kept %": 100 * found.reentry_recall,
        "returns": found.reentries,
        "false merges %": 100 * found.false_merge_rate,
        "wrong joins %": 100 * wrong / max(joins, 1),
        "joins": joins,
        "looks' equal error %": 100 * looks_error(tape),
        "merged ids": found.merged_ids,
        "fragments a person": found.fragments_per_person,
        "tracklets": len(ledger.tracks()),
        "linker s": run.step_ms.sum() / 1e3,
        "step p50 ms": float(np.quantile(run.step_ms, 0.5)),
        "step p99 ms": float(np.quantile(run.step_ms, 0.99)),
        "step max ms": float(run.step_ms.max()),
    }


# ---- time --------------------------------------------------------------------------------------------------------

GALLERIES = (0, 2_000, 5_000, 10_000, 20_000)
CAMERAS = (2, 4, 8, 16)
SWEEP_S = 40.0  # of the busy site's tape, to see how the cost grows; all of it for the row's figures
GRACE_S = 60.0  # of processor time for all who are there at the tape's start, at once
HOPELESS = 3.0  # given up where steps take beyond it so many times the time that they have
WARM_S = 25.0  # of the busy site's tape, before steps are timed: by then many have come and gone


def remembering(people: Iterable[CameraUpdate]) -> Linker:
    """A linker that has seen these people and forgets none of them, however long ago it was."""
    linker = Linker(FORGETS_NOBODY)
    for update in people:
        linker.step(update)
    return linker


@dataclass(frozen=True)
class Cost:
    """What the steps of a linker took on the busy site."""

    step_ms: F  # (N,) processor time, of the steps after `WARM_S`; of all where it was given up before
    load: float  # share of the time played that these steps took together
    played_s: float  # of the tape
    here: int  # identities
    known: int

    NAMES: ClassVar = ("p50 ms", "p99 ms", "p99.9 ms", "max ms", "load %", "here", "known", "played s")

    def figures(self) -> dict[str, float]:
        """By `NAMES`."""
        at = np.quantile(self.step_ms, (0.5, 0.99, 0.999, 1.0)).tolist()
        return dict(zip(self.NAMES, (*at, 100 * self.load, self.here, self.known, self.played_s)))


def cost_of(linker: Linker, tape: Taped, site: Site, cameras: int, seconds: float) -> Cost:
    """Run a linker on so many seconds of the tape of the first so many cameras of a site, unless that is hopeless."""
    names = list(site.plan.eyes)[:cameras]
    at_s: list[float] = []
    spent_s: list[float] = []
    total_s = 0.0
    for message in tape:
        t_s = message.t_ns / 1e9 - site.start_s
        if t_s > seconds or total_s > GRACE_S + HOPELESS * t_s:
            break
        if not isinstance(message, CameraUpdate) or message.camera_id not in names:
            continue
        start = time.process_time()
        linker.step(message)
        spent_s.append(time.process_time() - start)
        at_s.append(t_s)
        total_s += spent_s[-1]
    t, spent = np.array(at_s), np.array(spent_s)
    begin_s = WARM_S if t[-1] > WARM_S else 0.0
    timed = t >= begin_s
    known = linker.view().identities
    return Cost(
        step_ms=1e3 * spent[timed],
        load=float(spent[timed].sum() / max(t[-1] - begin_s, 1 / site.fps)),
        played_s=float(t[-1]),
        here=sum(identity.here for identity in known),
        known=len(known),
    )


@dataclass
class Bench:
    """Where tapes and plots go, and what the linker is asked for."""

    work: Path
    rate: float | None = None  # accepted share of wrong joins; None: the linker's own setting
    noise: Noise = UNSEEN_SITE
    calibrated: bool = True
    hours: int = 24  # of the row memory
    commands: list[str] = field(default_factory=list)

    @property
    def settings(self) -> LinkSettings:
        return accepting(self.rate)

    def taped(self, site: Site) -> Taped:
        """The tape of a site, as it was asked to be seen."""
        return taped(replace(site, noise=self.noise, calibrated=self.calibrated), self.work)


# ---- rows --------------------------------------------------------------------------------------------------------


def crossing(bench: Bench) -> Row:
    """Twenty people, four cameras, half an hour; they come, cross, go and come back. Who is unsure is counted apart."""
    figures = told_of(bench.taped(crossing_site()), bench.settings)
    figures["identities too many or few"] = abs(figures["identities"] - figures["people"])
    return Row("crossing", figures, {"identities too many or few": most(0)})


def campus(bench: Bench) -> Row:
    """Twelve cameras, 200 people, ten minutes: how many joins are wrong, next to how many may be."""
    figures = told_of(bench.taped(campus_site()), bench.settings)
    return Row("campus", figures, {"wrong joins %": most(100 * accepted(bench.settings))})


BINS = 10


def reliable(bench: Bench) -> Row:
    """Every probability that comes with a decision, next to how often it was true."""
    decisions: list[Decision] = []
    for tape in held_out(bench.work):
        decisions += linked(tape, bench.settings).judge.decisions
    kinds = {"all": decisions} | {
        kind: [one for one in decisions if one.kind == kind]
        for kind in ("handed over", "runner-up", "merged", "split")
    }
    figures: dict[str, float] = {}
    lines = {}
    for kind, made in kinds.items():
        figures[f"{kind}: decisions"] = len(made)
        if not made:
            continue
        said = np.array([one.probability for one in made])
        was = np.array([one.is_right for one in made])
        found = reliability(said, was, BINS, even=False)
        figures[f"{kind}: ECE"] = found.ece
        figures[f"{kind}: said"], figures[f"{kind}: was"] = float(said.mean()), float(was.mean())
        lines[f"{kind} ({len(made)}), ECE {found.ece:.3f}"] = list(
            zip(found.said.tolist(), found.happened.tolist())
        )
        print(f"reliability, {kind}: share of decisions, said, was")
        for weight, p, true in zip(found.weight, found.said, found.happened):
            print(f"  {weight:6.1%}  {p:.3f}  {true:.3f}")
    draw(
        bench.work / "reliability.png",
        lines,
        title="Probability of one person, said and true",
        across="said",
        up="true",
        diagonal=True,
    )
    return Row("reliability", figures, {"all: ECE": most(0.05)})


def cost(bench: Bench) -> Row:
    """Sixteen cameras at ten pictures a second, 200 people inside, 20,000 remembered; and how that grows."""
    site = busy_site()
    tape = bench.taped(site)
    by_gallery: dict[int, Cost] = {}
    by_cameras: dict[int, Cost] = {}
    print("cost: cameras, remembered, " + ", ".join(Cost.NAMES))
    for gallery in GALLERIES:
        remembered = remembering(past(gallery, site)).checkpoint()
        for cameras in CAMERAS if gallery == GALLERIES[-1] else CAMERAS[-1:]:
            is_last = (cameras, gallery) == (CAMERAS[-1], GALLERIES[-1])
            linker = Linker(FORGETS_NOBODY)
            linker.restore(remembered)
            one = cost_of(linker, tape, site, cameras, site.seconds if is_last else SWEEP_S)
            print(
                f"  {cameras:2d} {gallery:6d}" + "".join(f"{v:9.2f}" for v in one.figures().values()),
                flush=True,
            )
            if cameras == CAMERAS[-1]:
                by_gallery[gallery] = one
            if gallery == GALLERIES[-1]:
                by_cameras[cameras] = one
    for name, across, at in (
        ("gallery", "identities remembered", by_gallery),
        ("cameras", "cameras", by_cameras),
    ):
        lines = {
            kind: [(x, one.figures()[kind]) for x, one in at.items()]
            for kind in ("p50 ms", "p99 ms", "max ms")
        }
        draw(bench.work / f"cost_{name}.png", lines, title="Linker.step", across=across, up="ms")
    # A step must be over before the next picture of the same camera comes, and all steps together in time.
    wanted = {
        "p99 ms": most(5),
        "max ms": most(1e3 / site.fps),
        "load %": most(100),
        "played s": least(site.seconds - 1),
    }
    return Row("cost", by_gallery[GALLERIES[-1]].figures(), wanted)


REVISE_EVERY_S = 10.0  # not every second, to play a day in minutes
REMEMBERED = 200  # identities at most: the bound is reached within hours
FULL_AFTER_H = 8  # from when on memory must be flat


@dataclass(frozen=True)
class Hour:
    """What a linker holds after so many hours."""

    hour: int
    rss_mb: float
    objects: int  # that Python's collector knows of
    identities: int
    tracklets: int
    checkpoint_kb: float


def day(tape: Taped, settings: LinkSettings, hours: int) -> list[Hour]:
    """What a linker holds at each hour of a tape played again and again."""
    linker, found = Linker(settings), []
    for number in range(round(hours * 3600 / PASS_S)):
        for update in again(tape, number):
            linker.step(update)
        done_h = (number + 1) * PASS_S / 3600
        if done_h == int(done_h):
            gc.collect()
            known = linker.view().identities
            found.append(
                Hour(
                    hour=int(done_h),
                    rss_mb=_rss_mb(),
                    objects=len(gc.get_objects()),
                    identities=len(known),
                    tracklets=sum(len(one.tracks) for one in known),
                    checkpoint_kb=len(linker.checkpoint().state) / 1024,
                )
            )
            print(f"memory: {found[-1]}", flush=True)
    return found


def _rss_mb() -> float:
    """Memory of this process that is in RAM now; NaN where the system does not tell (it is not Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(bench: Bench) -> Row:
    """A day of traffic: twenty people in every half hour, none of whom comes again in another."""
    settings = bench.settings.model_copy(
        update={"max_identities": REMEMBERED, "revise_every_s": REVISE_EVERY_S}
    )
    tape = bench.taped(crossing_site())
    # By itself, so that nothing but the linker and the tape's reader is in that process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        found = alone.submit(day, tape, settings, bench.hours).result()
    draw(
        bench.work / "memory.png",
        {
            "RSS MB": [(one.hour, one.rss_mb) for one in found],
            "checkpoint, 100 kB": [(one.hour, one.checkpoint_kb / 100) for one in found],
            "objects, 10,000": [(one.hour, one.objects / 1e4) for one in found],
            "tracklets, 100": [(one.hour, one.tracklets / 100) for one in found],
        },
        title="A day of traffic",
        across="hours",
        up="",
    )
    full, last = found[min(FULL_AFTER_H, len(found)) - 1], found[-1]
    figures = {"hours": last.hour} | {
        f"{name}{unit}{grown}": value
        for name, unit, before, after in (
            ("RSS", " MB", full.rss_mb, last.rss_mb),
            ("objects", "", full.objects, last.objects),
            ("identities", "", full.identities, last.identities),
            ("tracklets", "", full.tracklets, last.tracklets),
            ("checkpoint", " kB", full.checkpoint_kb, last.checkpoint_kb),
        )
        for grown, value in (("", after), (" grown %", 100 * (after / max(before, 1e-9) - 1)))
    }
    # An allocator's slack is some percent.
    wanted = {name: most(5) for name in figures if name.endswith("grown %")}
    return Row("memory", figures, wanted)


ROWS: dict[str, Callable[[Bench], Row]] = {
    "crossing": crossing,
    "campus": campus,
    "reliability": reliable,
    "cost": cost,
    "memory": memory,
}


def main() -> int:
    """The exit code is 1 when a figure is missed."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", nargs="+", choices=sorted(ROWS), metavar="NAME", help=", ".join(ROWS))
    options.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    options.add_argument(
        "--work", type=Path, default=Path.home() / ".cache" / "throughline" / "link_scale", metavar="DIR"
    )
    options.add_argument(
        "--rate",
        type=float,
        metavar="SHARE",
        help="of wrong joins that the linker may make (default: its own)",
    )
    options.add_argument(
        "--noise",
        choices=NOISES,
        default="unseen",
        help="of an embedder, in a place its training never saw or did",
    )
    options.add_argument(
        "--uncalibrated", action="store_true", help="nobody knows where feet stand on the floor"
    )
    options.add_argument("--hours", type=int, default=24, metavar="N", help="of the row memory")
    options.add_argument("--profile", action="store_true", help="say where the time goes, row by row")
    given = options.parse_args()
    noise, calibrated = NOISES[given.noise], not given.uncalibrated
    bench = Bench(given.work.resolve(), given.rate, noise, calibrated, given.hours)
    bench.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in given.only or ROWS:
        with cProfile.Profile() if given.profile else nullcontext() as profile:
            rows.append(measure(name, ROWS[name], bench))
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        print(as_text(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
