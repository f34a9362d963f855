"""Boxes carried from one frame to a later one: standing still, a constant velocity, flow, and the box head.

    python -m benchmarks.box_carrying --data DIR [--box NAME] [--flow NAME ...] [--gaps 1 2 5 10] [--json FILE]

``NAME`` is that of a model, or an .onnx file. ``DIR`` (or ``$THROUGHLINE_DATA``) holds ``mot/*``; without it the
shipped demo alone is measured. From frames spread evenly over each clip, the true box of everybody who is labelled at t
and at t + k is carried over k frames, and what comes out is held against the true box there:

- ``still``: the box stays;
- ``velocity``: on by the step from the true box at t - k, which is what a Kalman filter extrapolates; somebody who was
  not there yet stands still. True boxes have no detector's noise, and those of PETS are drawn through few frames by
  lines, so this row is better than a filter would be;
- ``NAME``: by the flow of one step over the gap; ``NAME steps``: by the flow of every frame in between, one after
  another; a flow's name with ``@SIDE`` is DIS on copies of that longest side;
- ``box``: by the box head, looked for where it was; ``box velocity``: looked for where the row above says.

Milliseconds are the median for all boxes of a frame on one core: the later picture made small (the earlier one was
when it came), the field, and the boxes moved; for the box head both crops and the network. ``steps`` adds up all k.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.flow_tracking import demo_clips, mot_clips
from benchmarks.replay import Clip
from flow import load_estimator
from flow.boxcarry import BoxCarrier, load_carrier
from flow.estimator import DisEstimator, Estimator
from flow.warp import move_boxes
from models import ModelError
from tracker.core.boxes import iou

GAPS = (1, 2, 5, 10)
FLOWS = ("dis", "dis@640", "tiny", "base")
STARTS = 20  # frames of a clip that boxes are carried from
MOST_STEPS = 10  # frames that flow is followed through one by one
HIT = 0.5  # IoU

Image = NDArray[np.uint8]
Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """The frames t to t + k of a clip, and the M people who are labelled in both."""

    pictures: Sequence[Image]  # k + 1
    earlier: Boxes  # (M, 4) at t - k, NaN where not labelled
    before: Boxes  # (M, 4) at t
    after: Boxes  # (M, 4) at t + k


@dataclass
class Found:
    """What one way of carrying reached, as columns over people, and its times over frames."""

    overlap: list[float] = field(default_factory=list)
    off: list[float] = field(default_factory=list)  # of the centre, as a share of the true box's height
    ms: list[float] = field(default_factory=list)

    def add(self, carried: Boxes, truth: Boxes, ms: float) -> None:
        """Take in the boxes (M, 4) of a frame, M > 0."""
        self.overlap += np.diag(iou(carried, truth)).tolist()
        step = (carried[:, :2] + carried[:, 2:] - truth[:, :2] - truth[:, 2:]) / 2
        self.off += (np.hypot(step[:, 0], step[:, 1]) / (truth[:, 3] - truth[:, 1])).tolist()
        self.ms.append(ms)

    def __add__(self, other: Found) -> Found:
        return Found(self.overlap + other.overlap, self.off + other.off, self.ms + other.ms)


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    clips: str  # a group of clips, or one
    gap: int  # frames
    way: str
    people: int
    boxes: float  # a frame, mean
    iou: float  # mean
    hits: float  # share of people whose box reaches an IoU of `HIT`
    off: float  # mean distance of the centres, as a share of the box's height
    ms: float  # for all boxes of a frame, median


# --- ways to carry


Way = Callable[[Window], "tuple[NDArray[np.floating], float]"]  # boxes (M, 4) at t + k, and milliseconds


def stand_still(window: Window) -> tuple[Boxes, float]:
    """The boxes of t."""
    return window.before, 0.0


def keep_velocity(window: Window) -> tuple[Boxes, float]:
    """As far again as since t - k, in place and size."""
    known = np.asarray(np.isfinite(window.earlier).all(axis=1))[:, None]
    carried = np.where(known, 2 * window.before - window.earlier, window.before)
    carried[:, 2:] = np.maximum(carried[:, 2:], carried[:, :2] + 1)  # nobody shrinks to nothing
    return carried, 0.0


def by_flow(estimator: Estimator, pictures: Sequence[Image], boxes: Boxes) -> tuple[Boxes, float]:
    """Moved by the flow from each picture to the next; milliseconds without those of the first picture's copy."""
    spent, carried = 0.0, boxes
    small = estimator.reduce(pictures[0])
    for picture in pictures[1:]:
        begun = time.thread_time()
        before, small = small, estimator.reduce(picture)
        flow = estimator.between(before, small)
        if flow is not None:
            carried = move_boxes(carried, flow.field, flow.scale, trust=flow.trust)[0].astype(np.float64)
        spent += time.thread_time() - begun
    return carried, 1e3 * spent


def over_the_gap(estimator: Estimator, window: Window) -> tuple[Boxes, float]:
    """By the flow from the first picture to the last."""
    return by_flow(estimator, [window.pictures[0], window.pictures[-1]], window.before)


def step_by_step(estimator: Estimator, window: Window) -> tuple[Boxes, float]:
    """By the flow of every frame in between."""
    return by_flow(estimator, window.pictures, window.before)


def by_head(carrier: BoxCarrier, window: Window, *, at_velocity: bool) -> tuple[NDArray[np.float32], float]:
    """Found by the box head in the last picture."""
    expected = keep_velocity(window)[0] if at_velocity else None
    begun = time.thread_time()
    carried, _ = carrier.carry(window.pictures[0], window.pictures[-1], window.before, expected)
    return carried, 1e3 * (time.thread_time() - begun)


def ways(estimators: Mapping[str, Estimator], carrier: BoxCarrier | None, gap: int) -> dict[str, Way]:
    """All there are for a gap, by name."""
    found: dict[str, Way] = {"still": stand_still, "velocity": keep_velocity}
    for name, estimator in estimators.items():
        found[name] = partial(over_the_gap, estimator)
        if 1 < gap <= MOST_STEPS:
            found[f"{name} steps"] = partial(step_by_step, estimator)
    if carrier is not None:
        found["box"] = lambda w: by_head(carrier, w, at_velocity=False)
        found["box velocity"] = lambda w: by_head(carrier, w, at_velocity=True)
    return found


# --- what is carried


def starts_of(length: int, longest: int, count: int) -> list[int]:
    """At most ``count`` even frames, from 1, of a clip of ``length`` with ``longest`` frames before and after them."""
    first, last = 1 + longest, length - longest
    if last < first:
        return []
    return np.unique(np.linspace(first, last, count).round().astype(int)).tolist()


def people_of(clip: Clip) -> dict[int, dict[int, Boxes]]:
    """Frame, from 1 -> id -> x1, y1, x2, y2: everybody who is to be scored."""
    truth, found = clip.true_boxes, dict[int, dict[int, Boxes]]()
    for frame, who, box, score in zip(truth.frames, truth.ids, truth.boxes, truth.scores, strict=True):
        if score > 0 and (box[2:] > 0).all():
            found.setdefault(int(frame), {})[int(who)] = np.concatenate([box[:2], box[:2] + box[2:]])
    return found


def window_at(
    t: int, gap: int, pictures: Sequence[Image], people: Mapping[int, Mapping[int, Boxes]]
) -> Window:
    """The window of ``gap`` frames from frame ``t`` on; ``pictures`` begin there and are enough."""
    earlier, before, after = (people.get(frame, {}) for frame in (t - gap, t, t + gap))
    both = [who for who in before if who in after]
    unknown = np.full(4, np.nan)
    return Window(
        pictures[: gap + 1],
        np.array([earlier.get(who, unknown) for who in both]).reshape(-1, 4),
        np.array([before[who] for who in both]).reshape(-1, 4),
        np.array([after[who] for who in both]).reshape(-1, 4),
    )


def windows(clip: Clip, gaps: Sequence[int], starts: int) -> Iterator[tuple[int, Window]]:
    """Gap and window, for every start and gap of a clip, where there is anybody."""
    people, longest = people_of(clip), max(gaps)
    wanted = set(starts_of(max(people, default=0), longest, starts))
    if not wanted:
        print(f"left out: {clip.name}: no more than {2 * longest} frames are labelled", file=sys.stderr)
        return
    recent: deque[Image] = deque(maxlen=longest + 1)
    for frame in clip.frames():
        recent.append(frame.image)
        t = frame.seq + 1 - longest
        if t in wanted:
            for gap in gaps:
                window = window_at(t, gap, list(recent), people)
                if len(window.before):
                    yield gap, window
        if t >= max(wanted):
            return


def measure(
    shown: Iterator[tuple[int, Window]], estimators: Mapping[str, Estimator], carrier: BoxCarrier | None
) -> dict[tuple[int, str], Found]:
    """What every way reached, by gap and name."""
    found: dict[tuple[int, str], Found] = {}
    for gap, window in shown:
        for name, way in ways(estimators, carrier, gap).items():
            carried, ms = way(window)
            found.setdefault((gap, name), Found()).add(np.asarray(carried, np.float64), window.after, ms)
    return found


def lines_of(clips: str, found: Mapping[tuple[int, str], Found]) -> list[Line]:
    """One line a gap and way."""
    return [
        Line(
            clips,
            gap,
            way,
            len(one.overlap),
            len(one.overlap) / len(one.ms),
            float(np.mean(one.overlap)),
            float(np.mean(np.array(one.overlap) >= HIT)),
            float(np.mean(one.off)),
            float(np.median(one.ms)),
        )
        for (gap, way), one in sorted(found.items(), key=lambda item: item[0][0])
    ]


# --- the command


def estimators_named(names: Sequence[str]) -> dict[str, Estimator]:
    """Those that are there, by name, on one thread; the others are said and left out."""
    found: dict[str, Estimator] = {}
    for name in names:
        kind, _, side = name.partition("@")
        try:
            if kind == "dis" and side:
                found[name] = DisEstimator(side=int(side))
            else:
                found[name] = load_estimator(name, device="cpu")
        except (ValueError, OSError, ModelError) as reason:
            print(f"left out: {name}: {reason}", file=sys.stderr)
    return found


def carrier_named(name: str) -> BoxCarrier | None:
    """The box head on one thread, or None where it is not there, which is said."""
    try:
        return load_carrier(name, device="cpu")
    except (ValueError, OSError, ModelError) as reason:
        print(f"left out: box head {name}: {reason}", file=sys.stderr)
        return None


def as_table(lines: Sequence[Line]) -> str:
    """Lines to read."""
    width = max([len(line.way) for line in lines] + [3])
    rows = [
        f"{'clips':6} {'gap':>3} {'way':{width}} {'people':>6} {'boxes':>5}  {'IoU':>5} {'>=0.5':>6} {'off':>6} "
        f"{'ms':>7}"
    ]
    for k, line in enumerate(lines):
        if k and (lines[k - 1].clips, lines[k - 1].gap) != (line.clips, line.gap):
            rows.append("")
        rows.append(
            f"{line.clips:6} {line.gap:3} {line.way:{width}} {line.people:6} {line.boxes:5.1f}  {line.iou:5.3f} "
            f"{100 * line.hits:5.1f}% {100 * line.off:5.1f}% {line.ms:7.2f}"
        )
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table; 0 when there was something to measure."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.box_carrying",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--data", type=Path, default=os.environ.get("THROUGHLINE_DATA"), help="data folder")
    options.add_argument(
        "--box", default="boxhead", metavar="NAME", help="the box head: a card's name or .onnx"
    )
    options.add_argument("--flow", nargs="*", default=list(FLOWS), metavar="NAME", help="estimators to try")
    options.add_argument(
        "--gaps", nargs="+", type=int, default=list(GAPS), metavar="K", help="frames, from 1"
    )
    options.add_argument(
        "--starts", type=int, default=STARTS, metavar="N", help="frames a clip to carry from (%(default)s)"
    )
    options.add_argument(
        "--json", type=Path, metavar="FILE", help="write the lines here as well, every clip's too"
    )
    given = options.parse_args(arguments)
    if min(given.gaps) < 1 or given.starts < 1:
        options.error("gaps and starts are 1 or more")
    cv2.setNumThreads(1)
    if not given.data:
        print("mot: left out: needs --data DIR or THROUGHLINE_DATA", file=sys.stderr)
    estimators, carrier = estimators_named(given.flow), carrier_named(given.box)
    groups: dict[str, dict[tuple[int, str], Found]] = {}
    lines: list[Line] = []
    for clip in [*mot_clips(Path(given.data) if given.data else None), *demo_clips()]:
        found = measure(windows(clip, sorted(set(given.gaps)), given.starts), estimators, carrier)
        lines += lines_of(clip.name, found)
        whole = groups.setdefault(clip.group, {})
        for key, one in found.items():
            whole[key] = whole.get(key, Found()) + one
    together = [line for group, found in groups.items() for line in lines_of(group, found)]
    print(as_table(together), flush=True)
    if given.json:
        said = {"lines": [asdict(line) for line in together], "clips": [asdict(line) for line in lines]}
        given.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return 0 if together else 1


if __name__ == "__main__":
    sys.exit(main())
