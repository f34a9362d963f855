"""What speaks for two tracklets being one person: every cue for every pair, in a few operations on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tracker.config import LinkSettings
from tracker.core.appearance import AppearanceModel, unit
from tracker.core.company import APART_S, Beside, Company, Note
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
    PART,
    Own,
    Piece,
    Scores,
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
IN_VIEW_S = 0.15  # seen this short ago: still there
# Cues lean on each other, so that their sum is surer than it should be. What each counts for beside looks, which count
# in full, is fitted to whose new tracklets were: python -m benchmarks.cue_weights
TIME_WEIGHT, PLACE_WEIGHT, SHARED_VIEW_WEIGHT = 0.4, 0.8, 0.45


def score_pieces(
    pieces: Sequence[Piece],
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
    return done(scoring(pieces, settings, appearance, company, site, overlaps, now_ns, of=of))


def scoring(
    pieces: Sequence[Piece],
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
    keys = [p.key for p in pieces]
    first = np.array([p.tracklet.t_first_ns for p in pieces], np.int64)
    last = np.array([p.t_last_ns for p in pieces], np.int64)
    cameras = np.array([p.key.camera_id for p in pieces], np.str_)
    rows = slice(of)
    own, pictures = own_looks(pieces, appearance)
    yield 1000 * len(pieces)
    beside = company.beside(keys, of)
    pairs = len(beside.seconds) * len(keys)
    yield 12 * pairs
    here = cameras[rows, None] == cameras
    # Gap from the end of the earlier to the start of the later; negative where the spans overlap.
    gap_s = np.maximum(first[None, :] - last[rows, None], first[rows, None] - last[None, :]) / 1e9
    earlier = first[rows, None] <= first[None, :]

    size = np.array([p.tracklet.image_size for p in pieces], float).reshape(-1, 2)
    first_box = _columns([p.tracklet.first_box for p in pieces], 4)
    last_box = _columns([p.box for p in pieces], 4)
    velocity_px_s = _columns([p.tracklet.velocity_px_s for p in pieces], 2)
    yield 8 * pairs
    # At the picture's edge when last seen, or about to be.
    ahead = last_box + np.tile(velocity_px_s, 2) * LEAVING_S
    came, went = at_border(first_box, size), at_border(last_box, size) | at_border(ahead, size)
    left = np.where(earlier, went[rows, None], went)
    entered = np.where(earlier, came, came[rows, None])
    learned = yield from _learned(
        shares_of_picture(first_box, size), shares_of_picture(last_box, size), cameras, first, last, site, of
    )
    window_s = settings.max_gap_s
    link = gap_llr(np.maximum(gap_s, 0), typical_s=TYPICAL_S, window_s=window_s)
    onward = link + learned  # people do vanish in the middle of a floor, behind others
    link = onward + MID_VIEW_LLR * ~left + MID_VIEW_LLR * ~entered
    link = np.maximum(link, NEVER)
    # Whoever was away for longer may have been anywhere: time says nothing; sooner, that is unusual.
    link = np.where(gap_s > window_s, 0.0, np.where(gap_s >= 0, np.maximum(link, UNUSUAL_LLR), link))
    yield 10 * pairs
    walks, walked = yield from _walks(pieces, earlier, gap_s, of)
    link = link + walks
    boxes = first_box, last_box, velocity_px_s
    _stitch(link, np.minimum(walks, 0.0), *boxes, here, gap_s, earlier, settings)
    yield 8 * pairs

    # Who is still in one view while somebody comes into another has not gone there.
    in_view = last >= now_ns - IN_VIEW_S * 1e9
    stays = np.where(earlier, in_view[rows, None], in_view)
    placed = (beside.looks > 0) & ~here
    met = ((gap_s < -APART_S) | (gap_s < 0) & stays) & ~here | placed
    sights, notes = yield from _sights(pieces, met & ~placed, in_view, beside, site, of)
    meeting = overlap_llr(overlaps, cameras, of) + sights
    meeting = np.where(placed, meeting_llr(beside.place, beside.looks), meeting)

    # Coming when somebody else has gone is no reason by itself: between cameras, looks must speak too.
    yield 6 * pairs
    unknown = (pictures[rows] == 0)[:, None] | (pictures == 0)
    blind = unknown & ~here & ~walked & (learned < LEARNED_LLR)
    link = np.where(blind, np.minimum(link, UNSEEN_LOOKS_LLR), link)
    meeting = np.where(unknown & ~placed, np.minimum(meeting, UNSEEN_LOOKS_LLR), meeting)
    at_once = here & (beside.seconds > APART_S)
    link = np.where(at_once, np.where(beside.is_one_body, ONE_BODY_LLR, NEVER), link)
    link[np.arange(len(link)), np.arange(len(link))] = NEVER
    doubted = (link > NEVER / 2) & (walks > -MAX_PLACE_LLR)  # whom nobody could follow, nothing speaks for
    link = np.where(doubted, TIME_WEIGHT * link, link)
    yield 10 * pairs
    # Whoever leaves a view by its edge seldom comes back to the same view soon.
    back = here & left & (gap_s > settings.stitch_s) & (gap_s <= window_s) & (link > NEVER / 2)
    link = np.where(back, link + settings.return_log_odds / (1 + np.maximum(gap_s, 0) / RETURN_S), link)
    meeting = meeting * np.where(placed, PLACE_WEIGHT, SHARED_VIEW_WEIGHT)
    conflict = company.are_two(keys)
    scores = Scores(own, pictures, link, meeting, met, conflict, gap_s, appearance)
    scores.placed, scores.notes = placed, notes
    yield 10 * pairs
    scores.core = (pictures > 0) & (last - first >= CORE_S * 1e9)
    if of is None and walked.any():
        scores.walks, scores.walked = _places(pieces, company), walked
        yield 2000 * len(pieces)
        scores.onward, scores.longest_s = onward, settings.max_gap_s
        yield 10 * pairs
        scores.bonds = _bonds(*boxes, here & walked, first, last)
    return scores


def own_looks(pieces: Sequence[Piece], appearance: AppearanceModel) -> tuple[F, F]:
    """(N, D) unit rows of what is the person's own in the looks of N pieces and all that they hold, zero where there is
    none, and (N,) of how many pictures each is."""
    new = [p for p in pieces if p.own is None or p.own.version is not appearance.cameras_now]
    rows = rows_of(new)
    own = appearance.own(rows, np.array([p.key.camera_id for p in new], np.str_))
    for p, row in zip(new, own, strict=True):
        looks, pictures = (row, p.own_pictures) if row.any() else (None, 0.0)
        if p.held_looks is not None and (looks is None or len(looks) == len(p.held_looks)):
            held = p.held_pictures * p.held_looks.astype(float)
            looks = unit(held if looks is None else pictures * looks + held)
            pictures += p.held_pictures
        p.own = Own(appearance.cameras_now, looks, pictures)
    known = [p.own for p in pieces if p.own is not None]
    dim = max((len(o.looks) for o in known if o.looks is not None), default=1)
    nothing = np.zeros(dim)
    found = [o.looks if o.looks is not None and len(o.looks) == dim else nothing for o in known]
    seen = np.array([o.pictures if o.looks is not None and len(o.looks) == dim else 0.0 for o in known])
    return _columns(found, dim), seen


def rows_of(pieces: Sequence[Piece]) -> F:
    """(N, D) mean embeddings of the tracklets themselves, zero where there is none."""
    dim = max((len(p.looks) for p in pieces if p.looks is not None), default=1)
    looks = np.zeros((len(pieces), dim))
    for i, p in enumerate(pieces):
        if p.looks is not None and len(p.looks) == dim:
            looks[i] = p.looks
    return looks


def _columns(rows: Sequence[NDArray[np.floating]], width: int) -> F:
    """(N, width) of N short arrays."""
    return (np.concatenate(rows) if len(rows) else np.zeros(0)).reshape(-1, width).astype(float)


def _stitch(
    link: F,
    walks: F,
    first_box: F,
    last_box: F,
    velocity_px_s: F,
    here: NDArray[np.bool_],
    gap_s: F,
    earlier: NDArray[np.bool_],
    settings: LinkSettings,
) -> None:
    """Raises the links of tracks of one camera that go on as one another, where ``walks`` (at most 0) allow it."""
    i, j = np.nonzero(here & (gap_s >= 0) & (gap_s <= settings.stitch_s))
    if not len(i):
        return
    before, after = np.where(earlier[i, j], i, j), np.where(earlier[i, j], j, i)
    going_on = stitch_llr(
        last_box[before], velocity_px_s[before], first_box[after], gap_s[i, j], window_s=settings.stitch_s
    )
    link[i, j] = np.maximum(link[i, j], going_on + walks[i, j])


def _walks(
    pieces: Sequence[Piece], earlier: NDArray[np.bool_], gap_s: F, of: int | None
) -> Work[tuple[F, NDArray[np.bool_]]]:
    """What the walk from where the earlier was last to where the later was first says, and for whom it is known."""
    nowhere = (np.nan, np.nan)
    last = np.fromiter(chain.from_iterable([p.walk for p in pieces]), float).reshape(-1, 5)
    began = [(*(p.first_place or nowhere), p.first_sigma_m) for p in pieces]
    first = np.fromiter(chain.from_iterable(began), float).reshape(-1, 3)
    known = np.isfinite(last[:, 0])
    if not known.any():
        return np.zeros_like(gap_s), np.zeros(gap_s.shape, bool)
    steady = np.isfinite(last[:, 3])
    speed = np.where(steady[:, None], last[:, 3:], 0.0)
    walks = np.zeros_like(gap_s)
    for start in range(0, len(gap_s), PART):
        rows = slice(start, min(start + PART, len(gap_s)))
        gap, is_earlier = np.clip(gap_s[rows], 0.0, CARRY_S), earlier[rows]
        x, y = (
            np.where(
                is_earlier, last[rows, None, axis] - first[:, axis], last[:, axis] - first[rows, None, axis]
            )
            + np.where(is_earlier, speed[rows, None, axis], speed[:, axis]) * gap
            for axis in (0, 1)
        )
        sigma_m2 = np.where(
            is_earlier,
            last[rows, None, 2] ** 2 + first[:, 2] ** 2,
            first[rows, None, 2] ** 2 + last[:, 2] ** 2,
        )
        from_known = np.where(is_earlier, steady[rows, None], steady)
        walks[rows] = walk_llr(np.sqrt(x**2 + y**2), np.sqrt(sigma_m2), gap_s[rows], from_known)
        yield 40 * gap.size
    return walks, known[:of, None] & known


def _bonds(
    first_box: F,
    last_box: F,
    velocity_px_s: F,
    could: NDArray[np.bool_],
    first_ns: NDArray[np.int64],
    last_ns: NDArray[np.int64],
) -> F:
    """(N, N) log-odds of one camera's tracks going on as one another at once, against all others; 0 for the rest."""
    gap_s = (first_ns[None, :] - last_ns[:, None]) / 1e9
    i, j = np.nonzero(could & (gap_s > 0) & (gap_s <= BOND_S))
    bonds = np.zeros(gap_s.shape)
    if len(i):
        value = head_llr(last_box[i], velocity_px_s[i], first_box[j], gap_s[i, j])
        bonds[i, j] = np.clip(one_to_one(i, j, value), *BOND_LIMITS)
    return bonds + bonds.T


def _places(pieces: Sequence[Piece], company: Company) -> Walks:
    """The first and last places of every piece."""
    noted = [dict.fromkeys((*p.first_steps, *p.steps)) for p in pieces]
    table = np.fromiter(chain.from_iterable(chain.from_iterable(noted)), float).reshape(-1, 6)
    piece = np.repeat(np.arange(len(pieces)), [len(steps) for steps in noted])
    scale = company.foot_errors.scale([p.key.camera_id for p in pieces])
    return Walks(piece, table[:, 0], Feet.of(table[:, 1:3], table[:, 3], table[:, 4:], scale[piece]))


def _learned(
    came: F,
    went: F,
    cameras: NDArray[np.str_],
    first_ns: NDArray[np.int64],
    last_ns: NDArray[np.int64],
    site: SiteModel,
    of: int | None,
) -> Work[F]:
    """What the site's ways add to the default curve of gaps, for the later of two coming after the earlier."""
    n = len(cameras)
    rows = slice(of)
    if not n or not site.ways:
        return np.zeros((len(first_ns[rows]), n))

    def added(out: slice, into: slice) -> F:
        gap_s = (first_ns[None, into] - last_ns[out, None]) / 1e9
        in_time = (gap_s >= EARLIEST_S) & (gap_s <= WINDOW_S)
        o, d = np.flatnonzero(in_time.any(axis=1)), np.flatnonzero(in_time.any(axis=0))
        some = gap_s[np.ix_(o, d)]
        ratio = site.log_ratio(cameras[out][o], went[out][o], cameras[into][d], came[into][d], some)
        usual = gap_llr(np.maximum(some, 0), typical_s=TYPICAL_S, window_s=WINDOW_S)
        more = np.zeros_like(gap_s)
        more[np.ix_(o, d)] = np.maximum(ratio - usual, UNSHOWN_LLR)
        return np.where(in_time, more, 0.0)

    earlier = first_ns[rows, None] <= first_ns[None, :]
    into_rows = added(slice(None), rows).T
    yield 10 * earlier.size
    return np.where(earlier, into_rows.T if of is None else added(rows, slice(None)), into_rows)


def overlap_llr(site: SiteModel, cameras: NDArray[np.str_], of: int | None = None) -> F:
    """(N, N) log-odds that somebody seen by one of two cameras is seen by the other at once, of N pieces' cameras; or
    of the first ``of`` and all."""
    names = sorted(set(cameras.tolist()))
    code = {name: n for n, name in enumerate(names)}
    at = np.array([code[name] for name in cameras.tolist()], np.intp)
    shares = site.overlap_shares(names)
    # One view may lie inside the other, so the larger share counts.
    share = np.maximum(shares, shares.T)
    return np.asarray(np.clip(np.log(share / (1 - share)), *OVERLAP_LIMITS))[at[:of]][:, at]


def _sights(
    pieces: Sequence[Piece],
    met: NDArray[np.bool_],
    in_view: NDArray[np.bool_],
    beside: Beside,
    site: SiteModel,
    of: int | None,
) -> Work[tuple[F, list[Note]]]:
    """Where no floor is common: what is known of pieces' places in two pictures; worked out for those in view."""
    known, notes = beside.sights.copy(), list[Note]()
    if not site.meetings:
        return known, notes
    cameras, at = np.unique([p.key.camera_id for p in pieces], return_inverse=True)
    taught = np.array([[(min(a, b), max(a, b)) in site.meetings for b in cameras] for a in cameras])
    worth = met & (in_view[:of, None] | in_view) & taught[at[:of]][:, at]
    for i, j in np.argwhere(np.triu(worth) if of is None else worth):
        a, b = pieces[i], pieces[j]
        table = site.meeting_table(a.key.camera_id, b.key.camera_id)
        if table is None:
            continue
        here, there = sights_at_once(a, b)
        looks = min(len(here), MOST_SIGHTS)
        llr = float(np.clip(table[here, there].mean() * looks / 2, *SIGHT_LIMITS)) if looks else 0.0
        notes.append((a.key, b.key, llr))
        known[i, j] = llr
        if of is None:
            known[j, i] = llr
        if len(notes) % PART == 0:
            yield SIGHT_WORK * PART
    return known, notes
