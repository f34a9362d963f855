"""What speaks for two tracklets being one person: every cue for every pair, in a few operations on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tracker.config import LinkSettings
from tracker.core.appearance import AppearanceModel
from tracker.core.columns import Columns
from tracker.core.company import APART_S, Company, Note
from tracker.core.evidence import (
    MAX_PLACE_LLR,
    at_border,
    gap_llr,
    head_llr,
    meeting_llr,
    stitch_llr,
    walk_llr,
)
from tracker.core.feet import Feet
from tracker.core.grouping import (
    CORE_S,
    NEVER,
    Piece,
    Scores,
    Step,
    one_to_one,
    shares_of_picture,
    sights_at_once,
)
from tracker.core.topology import SiteModel
from tracker.core.walking import Walks
from tracker.core.work import Work, done
from tracker.core.zones import EARLIEST_S, TYPICAL_S, WINDOW_S

F = NDArray[np.float64]

MID_VIEW_LLR = -1.0  # people do not vanish or appear in the middle of a picture
ONE_BODY_LLR = 5.0  # two boxes on one person
LEAVING_S = 1.0  # who would reach the picture's edge within this time has left by it
UNSEEN_LOOKS_LLR = -2.0
RETURN_S = 60.0  # after this, coming back to the view one has left is half as unlikely
UNUSUAL_LLR = -1.0  # to come back by no usual way, within the longest walk
UNSHOWN_LLR = -3.0  # a site that has not shown a way may have it
LEARNED_LLR = 2.0  # learned ways this clear need no looks
OVERLAP_LIMITS = (-3.0, 2.0)
SIGHT_LIMITS = (-2.0, 2.0)
MOST_SIGHTS = 2  # neighbouring instants err alike
CARRY_S = 2.0  # a walker's velocity leads nowhere after this
BOND_S = 1.1  # after this a head may be anywhere
BOND_LIMITS = (-1.0, 4.0)  # a track may have begun on somebody else
SIGHT_WORK = 10_000  # that comparing two pieces' places in two pictures counts as
PLACED = 128  # whose places are gathered at once
SOME_SIGHTS = 16  # compared at once
LEARNED_WORK = 60  # that the way from one piece to another counts as
ROWS = 8  # weighed against all at once: what a processor's cache holds
IN_VIEW_S = 0.15  # seen this short ago: still there
# Cues lean on each other, so that their sum is surer than it should be. What each counts for beside looks, which count
# in full, is fitted to whose new tracklets were: python -m benchmarks.cue_weights
TIME_WEIGHT, PLACE_WEIGHT, SHARED_VIEW_WEIGHT = 0.4, 0.8, 0.45


def score_pieces(
    columns: Columns,
    settings: LinkSettings,
    appearance: AppearanceModel,
    company: Company,
    site: SiteModel,
    overlaps: SiteModel,
    now_ns: int,
    *,
    of: int | None = None,
) -> Scores:
    """`scoring`, all at once."""
    return done(scoring(columns, settings, appearance, company, site, overlaps, now_ns, of=of))


def scoring(
    columns: Columns,
    settings: LinkSettings,
    appearance: AppearanceModel,
    company: Company,
    site: SiteModel,
    overlaps: SiteModel,
    now_ns: int,
    *,
    of: int | None = None,
) -> Work[Scores]:
    """Every cue for every pair of N pieces.

    Args:
        company: who was seen beside whom; knows all of them.
        site: what the site has taught of the ways between its cameras.
        overlaps: how often two cameras see somebody at once; what is seen now may be part of it.
        now_ns: who was seen just before is still in view.
        of: cues of the first so many pieces with all N only (what cannot be one is known of all).
    """
    camera, first, last, pictures = columns.camera, columns.first_ns, columns.last_ns, columns.pictures
    shape = len(first) if of is None else of, len(first)
    learned = yield from _learned(columns, site, of)
    # At the picture's edge when last seen, or about to be.
    ahead = columns.last_box + np.tile(columns.velocity_px_s, 2) * LEAVING_S
    came = at_border(columns.first_box, columns.size)
    went = at_border(columns.last_box, columns.size) | at_border(ahead, columns.size)
    in_view = last >= now_ns - IN_VIEW_S * 1e9
    shared_view = overlap_llr(overlaps, columns.names.tolist())
    sights = _Sights(columns, in_view, site, of)
    window_s = settings.max_gap_s
    scores = Scores(
        columns.looks,
        pictures,
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(shape, bool),
        company.are_two_of(columns.rows),
        np.zeros(shape),
        appearance,
    )
    onward = scores.onward = np.zeros(shape)
    goes_on: list[NDArray[np.intp]] = []
    yield 10 * len(first) ** 2
    for start in range(0, shape[0], ROWS):
        rows = slice(start, min(start + ROWS, shape[0]))
        beside = company.beside_of(columns.rows[rows], columns.rows)
        here = camera[rows, None] == camera
        # Gap from the end of the earlier to the start of the later; negative where the spans overlap.
        gap_s = np.maximum(first[None, :] - last[rows, None], first[rows, None] - last[None, :]) / 1e9
        earlier = first[rows, None] <= first[None, :]
        left = np.where(earlier, went[rows, None], went)
        entered = np.where(earlier, came, came[rows, None])
        link = gap_llr(np.maximum(gap_s, 0), typical_s=TYPICAL_S, window_s=window_s)
        # People do vanish in the middle of a floor, behind others.
        onward[rows] = link + learned[rows]
        link = onward[rows] + MID_VIEW_LLR * ~left + MID_VIEW_LLR * ~entered
        link = np.maximum(link, NEVER)
        # Whoever was away for longer may have been anywhere: time says nothing; sooner, that is unusual.
        link = np.where(gap_s > window_s, 0.0, np.where(gap_s >= 0, np.maximum(link, UNUSUAL_LLR), link))
        # Who is still in one view while somebody comes into another has not gone there.
        stays = np.where(earlier, in_view[rows, None], in_view)
        placed = (beside.looks > 0) & ~here
        met = ((gap_s < -APART_S) | (gap_s < 0) & stays) & ~here | placed
        at_once = here & (beside.seconds > APART_S)
        walks, walked = _walks(columns, start, earlier, gap_s, ~(met | at_once))
        link = link + walks
        _stitch(link, np.minimum(walks, 0.0), columns, start, here, gap_s, earlier, settings)

        noted = yield from sights.of(rows, met & ~placed, beside.sights)
        meeting = shared_view[camera[rows]][:, camera] + noted
        meeting = np.where(placed, meeting_llr(beside.place, beside.looks), meeting)

        # Coming when somebody else has gone is no reason by itself: between cameras, looks must speak too.
        unknown = (pictures[rows] == 0)[:, None] | (pictures == 0)
        blind = unknown & ~here & ~walked & (learned[rows] < LEARNED_LLR)
        link = np.where(blind, np.minimum(link, UNSEEN_LOOKS_LLR), link)
        meeting = np.where(unknown & ~placed, np.minimum(meeting, UNSEEN_LOOKS_LLR), meeting)
        link = np.where(at_once, np.where(beside.is_one_body, ONE_BODY_LLR, NEVER), link)
        link[np.arange(len(link)), np.arange(start, rows.stop)] = NEVER
        doubted = (link > NEVER / 2) & (
            walks > -MAX_PLACE_LLR
        )  # whom nobody could follow, nothing speaks for
        link = np.where(doubted, TIME_WEIGHT * link, link)
        # Whoever leaves a view by its edge seldom comes back to the same view soon.
        back = here & left & (gap_s > settings.stitch_s) & (gap_s <= window_s) & (link > NEVER / 2)
        link = np.where(back, link + settings.return_log_odds / (1 + np.maximum(gap_s, 0) / RETURN_S), link)
        scores.link[rows], scores.gap_s[rows], scores.met[rows] = link, gap_s, met
        scores.meeting[rows] = meeting * np.where(placed, PLACE_WEIGHT, SHARED_VIEW_WEIGHT)
        scores.placed[rows], scores.walked[rows] = placed, walked
        after_s = (first - last[rows, None]) / 1e9
        goes_on.append(np.argwhere(here & walked & (after_s > 0) & (after_s <= BOND_S)) + (start, 0))
        yield 130 * link.size
    scores.core = (pictures > 0) & (last - first >= CORE_S * 1e9)
    scores.notes = sights.notes
    if of is None and scores.walked.any():
        scores.walks, scores.longest_s = (yield from _places(columns.pieces, company)), settings.max_gap_s
        scores.bonds = _bonds(columns, *np.concatenate(goes_on).T)
        yield 10 * len(first) ** 2
    else:
        scores.walked, scores.onward = np.zeros_like(scores.conflict), scores.link
    return scores


def _stitch(
    link: F,
    walks: F,
    columns: Columns,
    start: int,
    here: NDArray[np.bool_],
    gap_s: F,
    earlier: NDArray[np.bool_],
    settings: LinkSettings,
) -> None:
    """Raises the links of tracks of one camera that go on as one another, where ``walks`` (at most 0) allow it; of rows
    from ``start`` on."""
    i, j = np.nonzero(here & (gap_s >= 0) & (gap_s <= settings.stitch_s))
    if not len(i):
        return
    before = np.where(earlier[i, j], start + i, j)
    after = np.where(earlier[i, j], j, start + i)
    going_on = stitch_llr(
        columns.last_box[before],
        columns.velocity_px_s[before],
        columns.first_box[after],
        gap_s[i, j],
        window_s=settings.stitch_s,
    )
    link[i, j] = np.maximum(link[i, j], going_on + walks[i, j])


def _walks(
    columns: Columns, start: int, earlier: NDArray[np.bool_], gap_s: F, could: NDArray[np.bool_]
) -> tuple[F, NDArray[np.bool_]]:
    """Of rows from ``start`` on: what the walk from where the earlier was last to where the later was first says of
    pairs who ``could`` have taken it, and for whom it is known."""
    walks = np.zeros(gap_s.shape)
    known = np.isfinite(columns.walk[:, 0])
    walked = known[start : start + len(gap_s), None] & known
    i, j = np.nonzero(walked & could)
    if len(i):
        from_i = earlier[i, j]
        before, after = np.where(from_i, start + i, j), np.where(from_i, j, start + i)
        last, first, gap = columns.walk[before], columns.began[after], gap_s[i, j]
        steady = np.isfinite(last[:, 3])
        speed = np.where(steady[:, None], last[:, 3:], 0.0)
        carry = np.clip(gap, 0.0, CARRY_S)
        x, y = (last[:, axis] - first[:, axis] + speed[:, axis] * carry for axis in (0, 1))
        sigma_m = np.sqrt(last[:, 2] ** 2 + first[:, 2] ** 2)
        walks[i, j] = walk_llr(np.sqrt(x**2 + y**2), sigma_m, gap, steady)
    return walks, walked


def _bonds(columns: Columns, i: NDArray[np.intp], j: NDArray[np.intp]) -> F:
    """(N, N) log-odds of one camera's tracks ``i`` going on as ``j`` at once, against all others; 0 for the rest."""
    gap_s = (columns.first_ns[j] - columns.last_ns[i]) / 1e9
    bonds = np.zeros((len(columns.rows), len(columns.rows)))
    value = head_llr(columns.last_box[i], columns.velocity_px_s[i], columns.first_box[j], gap_s)
    bonds[i, j] = np.clip(one_to_one(i, j, value), *BOND_LIMITS)
    bonds[j, i] = bonds[i, j]
    return bonds


def _places(pieces: Sequence[Piece], company: Company) -> Work[Walks]:
    """The first and last places of every piece."""
    noted: list[dict[float, Step]] = []
    for start in range(0, len(pieces), PLACED):
        some = pieces[start : start + PLACED]
        # Each once, by its time: two steps with a NaN are equal only as long as they are one object.
        noted += [{step[0]: step for step in (*p.first_steps, *p.steps)} for p in some]
        yield 1500 * len(some)
    table = np.fromiter(
        chain.from_iterable(step for steps in noted for step in steps.values()), float
    ).reshape(-1, 6)
    piece = np.repeat(np.arange(len(pieces)), [len(steps) for steps in noted])
    scale = company.foot_errors.scale([p.key.camera_id for p in pieces])
    return Walks(piece, table[:, 0], Feet.of(table[:, 1:3], table[:, 3], table[:, 4:], scale[piece]))


def _learned(columns: Columns, site: SiteModel, of: int | None) -> Work[F]:
    """What the site's ways add to the default curve of gaps, for the later of two coming after the earlier."""
    first, last, cameras = columns.first_ns, columns.last_ns, columns.cameras
    every = np.arange(len(first))
    rows = every[:of]
    if not len(every) or not site.ways:
        return np.zeros((len(rows), len(every)))
    came, went = (shares_of_picture(box, columns.size) for box in (columns.first_box, columns.last_box))

    def added(out: NDArray[np.intp], into: NDArray[np.intp]) -> F:
        gap_s = (first[into] - last[out, None]) / 1e9
        in_time = (gap_s >= EARLIEST_S) & (gap_s <= WINDOW_S)
        o, d = np.flatnonzero(in_time.any(axis=1)), np.flatnonzero(in_time.any(axis=0))
        some = gap_s[np.ix_(o, d)]
        ratio = site.log_ratio(cameras[out[o]], went[out[o]], cameras[into[d]], came[into[d]], some)
        usual = gap_llr(np.maximum(some, 0), typical_s=TYPICAL_S, window_s=WINDOW_S)
        more = np.zeros_like(gap_s)
        more[np.ix_(o, d)] = np.maximum(ratio - usual, UNSHOWN_LLR)
        return np.where(in_time, more, 0.0)

    into_rows = np.zeros((len(rows), len(every)))
    for name in np.unique(cameras[rows]):  # not by number, which a restart may change
        here = rows[cameras[rows] == name]
        into_rows[here] = added(every, here).T
        yield LEARNED_WORK * len(here) * len(every)
    earlier = first[rows, None] <= first
    return np.where(earlier, into_rows.T if of is None else added(rows, every), into_rows)


def overlap_llr(site: SiteModel, names: Sequence[str]) -> F:
    """(C, C) log-odds that somebody seen by one of two cameras is seen by the other at once."""
    shares = site.overlap_shares(names)
    # One view may lie inside the other, so the larger share counts.
    share = np.maximum(shares, shares.T)
    return np.asarray(np.clip(np.log(share / (1 - share)), *OVERLAP_LIMITS))


class _Sights:
    """Where no floor is common: what is known of pieces' places in two pictures; worked out for those in view."""

    def __init__(self, columns: Columns, in_view: NDArray[np.bool_], site: SiteModel, of: int | None) -> None:
        self.notes: list[Note] = []
        self._columns, self._in_view, self._site = columns, in_view, site
        names = columns.names.tolist()
        at = np.array(
            [(names.index(a), names.index(b)) for a, b in site.meetings if a in names and b in names]
        )
        self._taught = np.zeros((len(names), len(names)), bool)
        self._taught[tuple(at.reshape(-1, 2).astype(int).T)] = True
        self._taught |= self._taught.T
        self._both_ways = of is None
        self._noted = np.full((len(in_view[:of]), len(in_view) if site.meetings else 0), np.nan)

    def of(self, rows: slice, met: NDArray[np.bool_], known: F) -> Work[F]:
        """(R, N) of these rows: of pairs who ``met`` and are worth it, as it is now, of others as ``known``."""
        if not self._site.meetings:
            return known
        camera, in_view, pieces = self._columns.camera, self._in_view, self._columns.pieces
        worth = met & (in_view[rows, None] | in_view) & self._taught[camera[rows]][:, camera]
        for i, j in np.argwhere(np.triu(worth, rows.start) if self._both_ways else worth).tolist():
            a, b = pieces[rows.start + i], pieces[j]
            table = self._site.meeting_table(a.key.camera_id, b.key.camera_id)
            if table is None:
                continue
            here, there = sights_at_once(a, b)
            looks = min(len(here), MOST_SIGHTS)
            llr = float(np.clip(table[here, there].mean() * looks / 2, *SIGHT_LIMITS)) if looks else 0.0
            self.notes.append((a.key, b.key, llr))
            self._noted[rows.start + i, j] = llr
            if self._both_ways:
                self._noted[j, rows.start + i] = llr
            if len(self.notes) % SOME_SIGHTS == 0:
                yield SIGHT_WORK * SOME_SIGHTS
        return np.where(np.isnan(self._noted[rows]), known, self._noted[rows])
