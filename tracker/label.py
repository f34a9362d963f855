"""Labels in minutes: which hand-overs of a run to ask a person about, and what the answers say of any run.

An *arrival* is a visit (one stay of one identity in one camera) before which somebody had been seen whom it might be.
The tracker either joined it to an earlier visit of its identity (stratum ``joined``) or took it for somebody new
(``new``). Arrivals are drawn by chance within each stratum. Of a joined one a person is asked whether the two visits
are one person; where they are not, and of a new one, which of a line-up of earlier visits is, if any. So every arrival
drawn says whether its hand-over was kept, was missed, or was none.

A label does not speak of ids: a visit is a few boxes at frames of a camera, and is found again in any run of the same
recordings by their overlap. `tracker.questions` asks.
"""

from __future__ import annotations

import bisect
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from tracker.errors import UserError
from tracker.evaluate import Boxes, box_iou
from tracker.types import CameraId, Record

SCHEMA = 1
LINE_UP = 12  # earlier visits on a page: as many as are taken in at a glance
MOST_PAGES = 5  # of line-ups about one arrival: enough for a square with 30 people at a time, and tiring
LEAST_S = 0.5  # a walker gets 0.7 m far: what is shorter is a piece of a track, not a stay
LEAST_PART = 3  # each stratum gets one in so many of the arrivals drawn, where it has as many
DRAWS = 20_000  # of the posterior; its quantiles are then good to 0.002
TOO_WIDE = 0.3  # an interval that cannot tell 70 % from 100 %
NS = 1_000_000_000

Stratum = Literal["joined", "new"]
STRATA: tuple[Stratum, ...] = ("joined", "new")
Same = Literal["yes", "no", "unknown"]
Reply = int | Literal["n", "?", "b", "q"]  # a place in the line-up, none, cannot tell, back, quit


Box = tuple[int, float, float, float, float]  # frame from 1; left, top, width, height in pixels


class Visit(Record, frozen=True, kw_only=True):
    """One stay of one identity in one camera, and some of its boxes, by which another run's tracks are known."""

    camera_id: CameraId
    global_id: int  # in the run that was labelled; another run has its own
    first_frame: int  # from 1
    last_frame: int
    t_first_ns: int
    t_last_ns: int
    boxes: tuple[Box, ...] = ()

    @property
    def key(self) -> tuple[CameraId, int, int]:
        """Names it within its run."""
        return self.camera_id, self.global_id, self.first_frame


class Arrival(Record, frozen=True, kw_only=True):
    """A visit and the earlier ones that it may continue."""

    visit: Visit
    joined: Visit | None  # the tracker's choice
    others: tuple[Visit, ...]  # of other identities, the likeliest first; a few pages at most
    left_out: int = 0  # others beyond

    @property
    def stratum(self) -> Stratum:
        return "new" if self.joined is None else "joined"


class Earlier(Record, frozen=True, kw_only=True):
    """An earlier visit, and whether it was the same person."""

    visit: Visit
    same: Same


class Label(Record, frozen=True, kw_only=True):
    """What a person said of one arrival: pairs of its visit with earlier ones."""

    stratum: Stratum
    weight: float  # arrivals of the run for one of this stratum that was asked about
    finished: bool  # all was asked
    visit: Visit
    earlier: tuple[Earlier, ...]  # where one is the same person, the rest of its line-up is left out
    left_out: int = 0  # earlier visits that no line-up had room for


class Labels(Record, frozen=True, kw_only=True):
    """What a person said of one run's arrivals, in the order it was said."""

    schema_version: int = SCHEMA
    run: str  # SHA-256 of the run's identities.json
    seed: int
    arrivals: dict[Stratum, int]  # in the whole run
    labels: tuple[Label, ...] = ()


# --- what to ask ------------------------------------------------


def gap_s(before: Visit, after: Visit) -> float:
    """From the end of one visit to the start of the other; 0 where they overlap."""
    return max(0, after.t_first_ns - before.t_last_ns) / NS


def find_arrivals(visits: Iterable[Visit], horizon_s: float) -> list[Arrival]:
    """Every visit that may continue an earlier one, by time.

    Args:
        visits: All of a run, in any order; those under half a second are left out.
        horizon_s: How long somebody unseen may be away and still be joined.
    """
    visits = sorted(
        (one for one in visits if one.t_last_ns - one.t_first_ns >= LEAST_S * NS),
        key=lambda one: (one.t_first_ns, *one.key),
    )
    stays: dict[tuple[int, CameraId], list[Visit]] = defaultdict(list)
    for visit in visits:
        stays[visit.global_id, visit.camera_id].append(visit)
    found: list[tuple[Visit, Visit | None, list[Visit]]] = []
    gaps_s: dict[tuple[CameraId, CameraId], list[float]] = defaultdict(list)
    recent: list[Visit] = []
    for visit in visits:
        recent = [earlier for earlier in recent if gap_s(earlier, visit) <= horizon_s]
        earlier_of: dict[int, list[Visit]] = defaultdict(list)
        for earlier in recent:
            if earlier.camera_id != visit.camera_id or not _overlap(earlier, visit):
                earlier_of[earlier.global_id].append(earlier)
        last_of = {i: _seen_last(own, visit) for i, own in earlier_of.items()}
        joined = last_of.pop(visit.global_id, None)
        if joined is not None:
            bisect.insort(gaps_s[joined.camera_id, visit.camera_id], gap_s(joined, visit))
        found.append((visit, joined, list(last_of.values())))
        recent.append(visit)

    def unlikeliness(earlier: Visit, visit: Visit) -> tuple[bool, float, float, int]:
        # Whom this camera sees at once as two; how far from any gap at which the run itself joined visits of these two
        # cameras (a track may break anywhere); the longer gap; who came first.
        at_once = any(_overlap(stay, visit) for stay in stays[earlier.global_id, visit.camera_id])
        gap, usual = gap_s(earlier, visit), gaps_s[earlier.camera_id, visit.camera_id]
        k = bisect.bisect(usual, gap)
        unusual = min((abs(gap - other) for other in usual[max(k - 1, 0) : k + 1]), default=math.inf)
        if earlier.camera_id == visit.camera_id:
            unusual = min(unusual, gap)
        return at_once, unusual, gap, -earlier.t_first_ns

    arrivals = []
    for visit, joined, others in found:
        likeliest = sorted(others, key=lambda earlier: (*unlikeliness(earlier, visit), earlier.key))
        if joined or likeliest:
            others = likeliest[: LINE_UP * MOST_PAGES]
            left_out = len(likeliest) - len(others)
            arrivals.append(Arrival(visit=visit, joined=joined, others=tuple(others), left_out=left_out))
    return arrivals


def _overlap(a: Visit, b: Visit) -> bool:
    return a.t_first_ns <= b.t_last_ns and b.t_first_ns <= a.t_last_ns


def _seen_last(earlier: Sequence[Visit], visit: Visit) -> Visit:
    """The visit that was seen last before ``visit`` began; of equals one in another camera, then the later one."""
    return max(
        earlier,
        key=lambda one: (
            min(one.t_last_ns, visit.t_first_ns),
            one.camera_id != visit.camera_id,
            one.t_first_ns,
        ),
    )


def draw(arrivals: Sequence[Arrival], count: int, seed: int) -> list[Arrival]:
    """``count`` arrivals by chance: of every stratum in proportion, but a third at least; well mixed.

    Those drawn of a stratum are the first of one shuffle. So a larger count only adds to them, and whoever stops early
    has been asked about a random part of each.
    """
    rng = np.random.default_rng(seed)
    shuffled: dict[Stratum, list[Arrival]] = {}
    for stratum in STRATA:
        own = [arrival for arrival in arrivals if arrival.stratum == stratum]
        shuffled[stratum] = [own[k] for k in rng.permutation(len(own))]
    joined, new = (len(shuffled[stratum]) for stratum in STRATA)
    least = count // LEAST_PART
    want = min(max(round(count * joined / max(joined + new, 1)), least), count - least)
    take_new = min(new, count - min(joined, want))
    take: dict[Stratum, int] = {"joined": min(joined, count - take_new), "new": take_new}
    places = [((k + 0.5) / take[stratum], stratum, k) for stratum in STRATA for k in range(take[stratum])]
    return [shuffled[stratum][k] for _, stratum, k in sorted(places)]


@dataclass(frozen=True)
class Question:
    """Which of these earlier visits is the same person as the arrival's?"""

    place: int  # of the arrival among those drawn, from 0
    arrival: Arrival
    earlier: tuple[Visit, ...]
    pages: int = 1  # that are left, this one included


def next_question(drawn: Sequence[Arrival], labels: Sequence[Label]) -> Question | None:
    """What to ask now; None when everything was asked."""
    known = {label.visit.key: label for label in labels}
    for place, arrival in enumerate(drawn):
        label = known.get(arrival.visit.key)
        if label is None and arrival.joined is not None:
            return Question(place, arrival, (arrival.joined,))
        if label is None or not label.finished:
            others = arrival.others[_shown_of_others(label) if label else 0 :]
            return Question(place, arrival, others[:LINE_UP], -(-len(others) // LINE_UP))
    return None


def _shown_of_others(label: Label) -> int:
    """How many of an unfinished label's earlier visits were in line-ups."""
    return len(label.earlier) - (label.stratum == "joined")


def with_reply(labels: Sequence[Label], question: Question, reply: Reply) -> list[Label]:
    """The labels after a reply to a question: a place among its earlier visits from 0, ``n`` or ``?``."""
    arrival = question.arrival
    before = [label for label in labels if label.visit.key == arrival.visit.key]
    if isinstance(reply, int):
        told = [Earlier(visit=question.earlier[reply], same="yes")]
    else:
        same: Same = "no" if reply == "n" else "unknown"
        told = [Earlier(visit=visit, same=same) for visit in question.earlier]
    label = Label(
        stratum=arrival.stratum,
        weight=0.0,
        finished=False,
        visit=arrival.visit,
        earlier=(*(earlier for label in before for earlier in label.earlier), *told),
        left_out=arrival.left_out,
    )
    is_last = _shown_of_others(label) >= len(arrival.others)
    label = msgspec.structs.replace(label, finished=reply != "n" or is_last)
    return [*(label for label in labels if label not in before), label]


def without_last(labels: Sequence[Label]) -> list[Label]:
    """The labels before their last reply."""
    if not labels:
        return []
    last = labels[-1]
    shown = _shown_of_others(last)
    pages = max(shown - 1, 0) // LINE_UP  # whole ones before the last reply
    left = pages * LINE_UP + (last.stratum == "joined" and shown > 0)
    if left == 0:
        return list(labels[:-1])
    return [*labels[:-1], msgspec.structs.replace(last, earlier=last.earlier[:left], finished=False)]


def weighted(labels: Sequence[Label], arrivals: Mapping[Stratum, int]) -> tuple[Label, ...]:
    """The labels, each with how many of the run's arrivals it stands for."""
    asked = Counter(label.stratum for label in labels)
    return tuple(
        msgspec.structs.replace(label, weight=round(arrivals[label.stratum] / asked[label.stratum], 4))
        for label in labels
    )


# --- files ------------------------------------------------------


def read_labels(path: Path) -> Labels:
    """Labels as `write_labels` wrote them.

    Raises:
        UserError: There are none.
    """
    try:
        labels = msgspec.json.decode(path.read_bytes(), type=Labels)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the command label makes one") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{path}: these are no labels ({error})") from None
    if labels.schema_version != SCHEMA:
        raise UserError(f"{path}: labels of version {labels.schema_version}; this program reads {SCHEMA}")
    return labels


def write_labels(path: Path, labels: Labels) -> None:
    """Whole or not at all, an arrival a line, for its owner alone."""
    head = msgspec.to_builtins(labels)
    lines = [json.dumps(label) for label in head.pop("labels")]
    text = json.dumps(head)[:-1] + ', "labels": [\n' + ",\n".join(lines) + "\n]}\n"
    part = path.with_name(path.name + ".part")
    write_private(part, text.encode())
    part.replace(path)


def write_private(path: Path, data: bytes) -> None:
    """A file that only its owner can read."""
    path.unlink(missing_ok=True)  # one that is there keeps its mode
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)


# --- what the answers say ---------------------------------------


@dataclass(frozen=True)
class Figure:
    """A share with its 95 % interval, each in [0, 1]; NaN, 0 and 1 where no label speaks of it."""

    share: float
    low: float
    high: float
    labels: int  # that it rests on
    counted: int  # of these, those that make up the share (unweighted)
    is_vague: bool  # too few labels for it


@dataclass(frozen=True)
class LabelScores:
    """What labels say of a run."""

    hand_overs_kept: Figure  # of the pairs that are one person, those that carry one id
    false_merges: Figure  # of the pairs that carry one id, those that are two people
    labels: int  # arrivals that were asked about
    arrivals: dict[Stratum, int]  # in the run that was labelled
    unknown: int  # labels where nobody could tell
    unseen: int  # labels of visits that this run did not see
    unfinished: int  # labels where not all was asked
    cut_short: int  # labels of nobody seen before, where not all who had been seen could be shown


def score_labels(labels: Labels, tracks: Mapping[CameraId, Boxes], min_iou: float = 0.5) -> LabelScores:
    """Labels against the ids of a run's tracks, by camera.

    Every label counts for as many arrivals as it stands for; see `estimate` for the intervals. A hand-over is judged
    where all was asked about an arrival and answered, a join wherever somebody could tell.
    """
    visits = [visit for one in labels.labels for visit in (one.visit, *(e.visit for e in one.earlier))]
    id_of = _ids_of(visits, tracks, min_iou)
    hand_overs, merges = [], []
    unseen = 0
    for stratum in STRATA:
        kept = missed = neither = lost = wrong = right = 0
        weight = 0.0
        for one in labels.labels:
            if one.stratum != stratum:
                continue
            own = id_of[one.visit]
            joined = Counter(e.same for e in one.earlier if own is not None and id_of[e.visit] == own)
            wrong, right = wrong + joined["no"], right + joined["yes"]
            weight += one.weight * (joined["no"] + joined["yes"])
            true = next((e for e in one.earlier if e.same == "yes"), None)
            is_lost = own is None or (true is not None and id_of[true.visit] is None)
            unseen += is_lost
            if not one.finished or any(e.same == "unknown" for e in one.earlier):
                continue
            if true is None:
                neither += 1
            elif is_lost:
                lost += 1
            else:
                kept, missed = kept + joined["yes"], missed + 1 - joined["yes"]
        if judged := kept + missed + neither:
            size = labels.arrivals.get(stratum, 0) * judged / (judged + lost)
            hand_overs.append((size, kept, missed, neither))
        if wrong + right:
            merges.append((weight, wrong, right, 0))
    return LabelScores(
        hand_overs_kept=estimate(hand_overs),
        false_merges=estimate(merges),
        labels=len(labels.labels),
        arrivals=dict(labels.arrivals),
        unknown=sum(any(e.same == "unknown" for e in one.earlier) for one in labels.labels),
        unseen=unseen,
        unfinished=sum(not one.finished for one in labels.labels),
        cut_short=sum(
            one.left_out > 0 and one.finished and one.earlier[-1].same == "no" for one in labels.labels
        ),
    )


def estimate(strata: Sequence[tuple[float, int, int, int]]) -> Figure:
    """The share of ``good`` in ``good`` and ``bad``, over strata of (size, good, bad, neither).

    In a stratum the three have a Dirichlet posterior under Jeffreys' prior of good and bad. Its draws, every stratum in
    its size, give the equal-tailed 95 % interval, which is open to the end where nothing bad (or nothing good) was
    seen. With one stratum this is the Jeffreys interval, which Brown, Cai and DasGupta recommend for small samples
    (Interval Estimation for a Binomial Proportion, Statistical Science 16(2), 2001). Where a stratum has shown no error
    yet, a bootstrap would say that it has none; this does not.
    """
    rng = np.random.default_rng(0)  # the same labels give the same interval
    all_good, all_bad = np.zeros(DRAWS), np.zeros(DRAWS)
    sums = np.zeros(2)
    for size, good, bad, neither in strata:
        drawn = rng.standard_gamma((good + 0.5, bad + 0.5, neither), (DRAWS, 3))
        drawn *= size / drawn.sum(1, keepdims=True)
        all_good += drawn[:, 0]
        all_bad += drawn[:, 1]
        sums += size * np.array((good, bad)) / (good + bad + neither)
    of_good, of_bad = (sum(int(stratum[k]) for stratum in strata) for k in (1, 2))
    if of_good + of_bad == 0:
        return Figure(share=math.nan, low=0.0, high=1.0, labels=0, counted=0, is_vague=True)
    quantiles = np.quantile(all_good / (all_good + all_bad), [0.025, 0.975])
    low, high = float(quantiles[0]) if of_good else 0.0, float(quantiles[1]) if of_bad else 1.0
    return Figure(
        share=float(sums[0] / sums.sum()),
        low=low,
        high=high,
        labels=of_good + of_bad,
        counted=of_good,
        is_vague=high - low > TOO_WIDE,
    )


def _ids_of(
    visits: Iterable[Visit], tracks: Mapping[CameraId, Boxes], min_iou: float
) -> dict[Visit, int | None]:
    """The id that lies on most boxes of each visit; the earliest of equals; None where none does."""
    rows_at = {camera_id: boxes.by_frame() for camera_id, boxes in tracks.items()}
    found: dict[Visit, int | None] = {}
    for visit in visits:
        counted: Counter[int] = Counter()
        for frame, *box in visit.boxes:
            rows = rows_at.get(visit.camera_id, {}).get(frame)
            if rows is None:
                continue
            own = tracks[visit.camera_id]
            iou = box_iou(np.array([box]), own.boxes[rows])[0]
            if iou.max() >= min_iou:
                counted[int(own.ids[rows[iou.argmax()]])] += 1
        found[visit] = counted.most_common(1)[0][0] if counted else None
    return found
