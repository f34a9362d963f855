"""Detections of one camera -> tracks and tracklets.

Two-stage association as in ByteTrack (Zhang et al., ECCV 2022): sure boxes first, then doubtful ones keep known tracks
alive. Both are one Hungarian matching over a fused cost of predicted-box overlap and embedding distance. Boxes are
compared with a buffer that grows with the time unseen (C-BIoU: Yang et al., WACV 2023), and what is lost is revived by
appearance wherever it can have walked to, without an overlap veto.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reid.gallery import select_diverse
from tracker.config import TrackSettings
from tracker.core.assign import Matching, assign, assign_or_new, margins
from tracker.core.boxes import (
    FloorPlan,
    areas,
    buffered_iou,
    center_form,
    corner_form,
    covered,
    intersections,
    iou,
)
from tracker.core.doubt import (
    CUT_AFTER,
    DOUBT_S,
    DOUBT_SHARE,
    MOST_DOUBTS,
    STRANGER_SHARE,
    Doubt,
    LookScale,
    Picture,
)
from tracker.core.footing import Footing
from tracker.core.keyframes import Outlook
from tracker.core.motion import MotionBatch
from tracker.types import (
    CARRIED,
    CONFIRMED,
    LOST,
    NO_DETECTION,
    TENTATIVE,
    Detections,
    TrackKey,
    Tracklet,
    Tracks,
)

IMPOSSIBLE = np.inf
WALK_HEIGHTS_S = 1.5  # nobody walks faster than this many of their own heights in a second (2.5 m/s)
RECORDED_SURE_SCORE = 0.6  # where no detector's card says from which score on a box is a person
CLEAR_QUALITY = 0.3  # worse pictures neither prove nor disprove anything
GAP_S = 0.3  # missed by a look and out of sight for longer: somebody else may be taken for one
MAX_SURPRISE = 15.0  # squared Mahalanobis distance of centre and height: 99.8 % of chi^2 with 3 degrees
BLIND_S = 0.6  # after this long unseen, place alone brings nobody back

RARE_S = 0.35  # from one look to the next a walker (1.3 m/s) goes further than they are wide (0.45 m)
DOUBT_LOG = 1.6  # a pair is in doubt where all would be more than a fifth as likely without it
BLIND_DOUBT_LOG = 3.0  # beside others, without an embedder: all cameras' feet tell better who goes on as whom
LOOKS_LOG = 3.0  # there, one's own looks speak for a pair by this much, a stranger's against it

MIN_ALIKE = 0.6  # nobody's box shrinks or grows by more from one frame to the next
NEAR_COST = 0.6  # a sure box that fits this well is taken at once
SURE_CHANGE = 1.9  # nobody's sure boxes differ by more in height within a second
WEAK_CHANGE = 1.3  # weak boxes must be as high as the last sure one up to this factor
WEAK_S = 1.0  # and carry a track for this long at most
MISSED_LOOKS = 1.5  # a track coasts at least over one look of the detector that missed it
AWAY_TIMES = 4.0  # a pause so many times as long as the one before: the camera was away, looks are not rare
HOLDING_TRUST = 0.3  # flow off by more than a tenth of a box's height (flow_sigma / trust) holds nobody
CROWDED_IOU = 0.15  # boxes that overlap more hide one another
SAME_IOU = 0.7  # and such are on one person
PUBLISH_EVERY_S = 2.0  # prototypes travel when they change, at the end, and this often


@dataclass
class Track:
    """What is remembered of one target beside its motion. Row n of the tracker's list is row n of its filters."""

    number: int
    t_first_ns: int
    t_seen_ns: int
    first_box: NDArray[np.float32]
    box: NDArray[np.float32]
    score: float
    doubt: Doubt  # whether it has gone over to somebody else
    confirmed: bool = False
    row: int = NO_DETECTION
    t_held_ns: int = 0  # until when flow has carried it since it was seen
    missed: int = 0  # looks of the detector since it was seen
    seen: int = 1
    score_sum: float = 0.0
    t_embedded_ns: int = 0
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)  # candidates for prototypes
    quality: list[float] = field(default_factory=list)
    appearance: NDArray[np.float32] | None = None  # unit; recent pictures count most
    embedding_sum: NDArray[np.float64] | None = None
    t_sure_ns: int = 0  # when a sure box was last taken, and how high it was, px
    sure_height: float = 1.0
    weight_sum: float = 0.0
    velocity_px_s: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(2, np.float32)
    )  # when last seen
    embedding_count: int = 0
    revision: int = 0
    t_published_ns: int = 0
    changed: bool = False


class CameraTracker:
    """Follows everybody in one camera. Ids are its own: two trackers share nothing."""

    def __init__(
        self,
        camera_id: str,
        settings: TrackSettings | None = None,
        *,
        run: int = 0,
        image_size: tuple[int, int] = (0, 0),
        model_hash: str = "",
        plan: FloorPlan | None = None,
    ) -> None:
        """
        Args:
            image_size: width and height in pixels; (0, 0) as long as they are unknown.
            model_hash: names the embedder whose rows come in the detections.
            plan: the way from the picture to the floor, where the camera is calibrated.
        """
        self.settings = settings or TrackSettings()
        self.camera_id, self.run = camera_id, run
        self.image_size, self.model_hash = image_size, model_hash
        self._tracks: list[Track] = []
        self._motion = MotionBatch()
        self._plan, self._footing = plan, None if plan is None else Footing(plan)
        self._crowded = np.zeros(0, bool)  # (N,) detections beside others, in this step
        self._parted: list[Tracklet] = []  # ended in this step, since who goes on was in doubt
        self.sure_score = (
            RECORDED_SURE_SCORE if self.settings.sure_score is None else self.settings.sure_score
        )
        start = self.settings.start_score
        self._start_score = self.sure_score + (1 - self.sure_score) / 4 if start is None else start
        self._looks = LookScale()
        self._next = 1
        self._t_ns: int | None = None
        self._pause_ns = np.inf  # between the last two frames
        self._waited_ns = 0.0  # since the last keyframe, without what the camera was away
        self._was_away = False  # the camera, since the last keyframe
        self._doubt_s = DOUBT_S
        self._coast_s, self._lost_s = self.settings.coast_s, self.settings.lost_s
        self._anchors = np.zeros((0, 4))  # the filters' boxes after the last keyframe

    def step(
        self,
        t_ns: int,
        detections: Detections | None,
        flow: NDArray[np.float32] | None = None,
        trust: NDArray[np.float32] | None = None,
    ) -> tuple[Tracks, list[Tracklet]]:
        """Take in one frame.

        Args:
            t_ns: capture time; must rise.
            detections: what was found, or None where the detector rested: tracks are carried on, and none ages.
            flow: (N, 4) where the boxes of the N tracks are now by flow, NaN rows where unknown; rows in the order of
                the last ``Tracks``.
            trust: (N,) how far to trust each row of ``flow``, in [0, 1]; None: all of it. A row of 0 or NaN says
                nothing, and one near 0 nearly nothing: prediction carries the track.

        Returns:
            The tracks now, and the tracklets that changed (ended ones a last time).
        """
        self._wait(t_ns)
        self._predict(t_ns, flow, trust)
        if detections is None:
            self._carry()
            return self._tracks_now(), self._tracklets_changed(t_ns)
        self._look()
        detections = sound(detections)
        quality = picture_quality(detections, self.image_size)
        kept = self._distinct(detections)
        sure = detections.scores >= self.sure_score
        self._crowded = crowded(detections.boxes, kept | sure)
        sure_rows, doubtful_rows = np.flatnonzero(sure & kept), np.flatnonzero(~sure & kept)
        for track in self._tracks:
            track.row = NO_DETECTION

        alive = np.arange(len(self._tracks))
        if self._footing is not None and self._is_rare:
            sure_rows = self._associate_on_floor(t_ns, alive, sure_rows, detections, quality)
            waiting = self._unmatched(alive)
            doubtful_rows = self._associate_on_floor(t_ns, waiting, doubtful_rows, detections, quality)
            alive = np.flatnonzero(~self._footing.known)  # who never stood on it is followed in the picture
        confirmed = np.array([self._tracks[i].confirmed for i in alive], bool)
        free_sure = self._associate(t_ns, alive[confirmed], sure_rows, detections, quality, gate=NEAR_COST)
        waiting = self._unmatched(alive[confirmed])
        fresh = np.array([self._unseen_s(t_ns, i) <= self._coast_s for i in waiting], bool)
        # ByteTrack: weak boxes keep tracks alive, but only where the track was a moment ago.
        self._associate(t_ns, waiting[fresh], doubtful_rows, detections, quality, doubtful=True)
        # A sure box further off comes after a weak one in place: it may well be somebody else.
        free_sure = self._associate(t_ns, self._unmatched(alive[confirmed]), free_sure, detections, quality)
        free_sure = self._associate(t_ns, alive[~confirmed], free_sure, detections, quality)
        lost = [i for i in self._unmatched(np.arange(len(self._tracks))) if self._tracks[i].confirmed]
        free_sure = self._revive(t_ns, np.array(lost, np.intp), free_sure, detections, quality)
        self._cut(t_ns)
        self._was_away = False
        for track in self._tracks:
            track.missed += track.row == NO_DETECTION
        self._start(t_ns, free_sure, detections, quality)
        ended = self._parted + self._end(t_ns)
        self._parted = []
        self._anchors = self._motion.boxes()
        return self._tracks_now(), ended + self._tracklets_changed(t_ns)

    def finish(self, t_ns: int) -> list[Tracklet]:
        """The camera has ended: everybody's last tracklet."""
        last = [self._tracklet(t, ended=True) for t in self._tracks if t.confirmed]
        self._tracks, self._motion = [], MotionBatch(self._motion.model)
        self._footing = None if self._plan is None else Footing(self._plan)
        self._anchors = self._motion.boxes()
        return last

    def boxes(self) -> NDArray[np.float64]:
        """(N, 4) boxes of the tracks as estimated at the last step."""
        return self._motion.boxes()

    def anchors(self) -> NDArray[np.float64]:
        """(N, 4) boxes of the tracks as estimated at the last keyframe."""
        return self._anchors

    def outlook(self) -> Outlook:
        """How soon the tracks should be looked at again."""
        if not self._tracks:
            return Outlook()
        rows = np.array([t.row for t in self._tracks])
        confirmed = np.array([t.confirmed for t in self._tracks])
        shown = rows != NO_DETECTION
        fresh = np.array([self._unseen_s(self._t_ns or 0, i) <= self._coast_s for i in range(len(rows))])
        boxes = self._motion.boxes()[shown]
        overlap = iou(boxes, boxes)
        np.fill_diagonal(overlap, 0.0)
        return Outlook(
            has_new=bool((~confirmed).any()),
            has_missed=bool((confirmed & ~shown & fresh).any()),
            is_crowded=bool((overlap > CROWDED_IOU).any()),
            spread=float(self._motion.spread()[shown].max(initial=0.0)),
        )

    def move_camera(self, transform: NDArray[np.floating]) -> None:
        """The camera moved since the last step: (3, 3) from the old picture to the new one."""
        self._motion.warp(transform)

    def predicted(self, t_ns: int) -> NDArray[np.float64]:
        """(N, 4) boxes of the tracks as they are expected at ``t_ns``, nothing changed."""
        dt = 0.0 if self._t_ns is None else max(t_ns - self._t_ns, 0) / 1e9
        m = self._motion
        return m.boxes() + np.tile(m.speed[:, :2] * dt, 2)

    def embedded_s(self, t_ns: int) -> NDArray[np.float64]:
        """(N,) seconds since each track was last embedded; infinite if never."""
        return np.array(
            [(t_ns - t.t_embedded_ns) / 1e9 if t.embedding_count else np.inf for t in self._tracks]
        )

    @property
    def _is_rare(self) -> bool:
        """Are looks so rare that people are known by where they stand rather than by overlap?"""
        return self._footing is not None and RARE_S <= self._pause_ns / 1e9 < np.inf

    # ---- the steps -------------------------------------------------------------------------------------------

    def _predict(
        self, t_ns: int, flow: NDArray[np.float32] | None, trust: NDArray[np.float32] | None
    ) -> None:
        last_ns = t_ns if self._t_ns is None else self._t_ns
        dt = (t_ns - last_ns) / 1e9
        unseen = np.array([self._unseen_s(last_ns, i) for i in range(len(self._tracks))])
        shown = np.array([t.row != NO_DETECTION for t in self._tracks], bool)
        before = self._motion.boxes()
        self._motion.predict(dt, np.where(shown, 0.0, unseen))
        if self._footing is not None:
            self._footing.predict(dt)
        self._t_ns = t_ns
        if flow is not None and len(flow) == len(self._tracks):
            trust = np.ones(len(flow), np.float32) if trust is None else trust
            told = np.isfinite(flow).all(axis=1) & (trust > 0)
            known = np.flatnonzero(told & (shown | (unseen <= self._coast_s)))
            self._motion.follow(known, flow[known], before[known], trust[known].astype(np.float64))
            for n in known[shown[known] & (trust[known] >= HOLDING_TRUST)]:
                self._tracks[n].t_held_ns = last_ns

    def _carry(self) -> None:
        """The detector rested: who was seen at the last keyframe is still there, as long as it is in the picture."""
        boxes = self._motion.boxes()
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        w, h = self.image_size
        for track, (x, y) in zip(self._tracks, middle, strict=True):
            is_inside = not (w and h) or (0 <= x < w and 0 <= y < h)
            track.row = CARRIED if track.row != NO_DETECTION and is_inside else NO_DETECTION

    def _wait(self, t_ns: int) -> None:
        """Time passes between two looks; a camera that was away has not looked rarely: who stood there may be gone."""
        if self._t_ns is not None:
            pause_ns = t_ns - self._t_ns
            self._was_away |= pause_ns > AWAY_TIMES * self._pause_ns
            self._waited_ns += min(pause_ns, max(AWAY_TIMES * self._pause_ns, 1e9 * self.settings.coast_s))
            self._pause_ns = pause_ns

    def _look(self) -> None:
        """The detector looks: a track may coast over one look that missed it, however rare looks are."""
        since_s, self._waited_ns = self._waited_ns / 1e9, 0.0
        self._doubt_s = max(DOUBT_S, MOST_DOUBTS * since_s)
        self._coast_s = max(self.settings.coast_s, MISSED_LOOKS * since_s)
        self._lost_s = max(self.settings.lost_s, MISSED_LOOKS * since_s)

    def _distinct(self, detections: Detections) -> NDArray[np.bool_]:
        """(N,) False for a second box on the same person; of two, the surer stays, then the one expected here."""
        boxes = detections.boxes.astype(np.float64)
        kept = areas(boxes) > 0
        expected = np.zeros(len(boxes))
        confirmed = np.array([t.confirmed for t in self._tracks], bool)
        if confirmed.any() and len(boxes):
            expected = iou(boxes, self._motion.boxes()[confirmed]).max(axis=1)
        shared, own = intersections(boxes, boxes), np.maximum(areas(boxes), 1e-12)
        overlap = shared / np.maximum(own[:, None] + own[None, :] - shared, 1e-12)
        inside = shared / own[:, None]
        same = (overlap > self.settings.duplicate_iou) | (inside > self.settings.duplicate_cover)
        same |= self.settings.duplicate_cover + 0.1 < inside.T
        if self._footing is not None and self._is_rare:
            same &= ~self._footing.apart(boxes, self.image_size)
        order = np.lexsort((-expected, -np.round(detections.scores, 2)))
        better = np.tril(
            same[np.ix_(order, order)], -1
        )  # [place, earlier place]: the same person as a better box
        stays = kept[order]
        for place in np.flatnonzero(better.any(axis=1)):
            stays[place] &= not (better[place] & stays).any()
        kept[order] = stays
        return np.asarray(kept)

    def _associate(
        self,
        t_ns: int,
        tracks: NDArray[np.intp],
        rows: NDArray[np.intp],
        detections: Detections,
        quality: NDArray[np.float64],
        *,
        doubtful: bool = False,
        gate: float = 1.0,
    ) -> NDArray[np.intp]:
        """Match tracks with detection rows; returns the rows left over."""
        if not len(tracks) or not len(rows):
            return rows
        cost = self._cost(t_ns, tracks, detections.where(rows), quality[rows], doubtful)
        matched = assign(cost, gate)
        if not doubtful:
            self._learn_looks(tracks, rows, matched, detections, cost)
        for i, j in zip(matched.rows, matched.columns, strict=True):
            self._take(t_ns, int(tracks[i]), int(rows[j]), detections, quality)
        self._correct(tracks[matched.rows], rows[matched.columns], detections)
        return rows[matched.free_columns]

    def _associate_on_floor(
        self,
        t_ns: int,
        tracks: NDArray[np.intp],
        rows: NDArray[np.intp],
        detections: Detections,
        quality: NDArray[np.float64],
    ) -> NDArray[np.intp]:
        """Match tracks with detection rows by where they stand; returns the rows left over.

        Where all would be about as likely without a pair, the pair is made, and its tracklet parted: who it was is in
        doubt.
        """
        if self._footing is None or not len(tracks) or not len(rows):
            return rows
        boxes = detections.boxes[rows]
        unseen_s = np.array([self._unseen_s(t_ns, int(i)) for i in tracks])
        missed = np.maximum(np.round(unseen_s * 1e9 / self._pause_ns) - 1, 0)
        gain = self._footing.gain(tracks, boxes, self.image_size, missed)
        looks = self._distances(tracks, detections.where(rows)) - self._looks.own
        known = np.isfinite(looks)
        gain[known] += LOOKS_LOG * (
            1 - 2 * np.clip(looks[known] / (self._looks.other - self._looks.own), 0, 1)
        )
        nobody = np.zeros(len(tracks))
        chosen = assign_or_new(-gain, nobody)
        taken = np.flatnonzero(chosen >= 0)
        worth = gain > 0
        rivals = worth.sum(axis=1) + worth[:, chosen].sum(axis=0) > 2  # of a pair that is made
        doubt = np.where(rivals & (not self.model_hash), BLIND_DOUBT_LOG, DOUBT_LOG)
        is_sure = margins(-gain, nobody, chosen) >= doubt
        certain = taken[is_sure[taken]]
        self._footing.learn(tracks[certain], boxes[chosen[certain]], self.image_size)
        for k in taken:
            index, row = int(tracks[k]), int(rows[chosen[k]])
            if is_sure[k]:
                self._take(t_ns, index, row, detections, quality)
            else:
                self._part(t_ns, index, row, detections, quality)
        self._correct(tracks[taken], rows[chosen[taken]], detections)
        return np.delete(rows, chosen[taken])

    def _part(
        self, t_ns: int, index: int, row: int, detections: Detections, quality: NDArray[np.float64]
    ) -> None:
        """End a track here and go on as a new one. Somebody was there both times: neither is tentative."""
        old = self._tracks[index]
        old.confirmed = True
        self._parted.append(self._tracklet(old, ended=True))
        new = self._tracks[index] = self._begun(t_ns, row, detections, quality)
        new.confirmed = new.changed = True

    def _cost(
        self,
        t_ns: int,
        tracks: NDArray[np.intp],
        seen: Detections,
        quality: NDArray[np.float64],
        doubtful: bool,
    ) -> NDArray[np.float64]:
        """(N, M) in [0, 1] where a pair is possible: overlap of the predicted box, and looks where both are known."""
        s = self.settings
        unseen = np.array([self._unseen_s(t_ns, int(i)) for i in tracks])
        predicted = self._motion.boxes()[tracks]
        grow = np.minimum(0.15 + 0.3 * unseen, 0.5)
        overlap = buffered_iou(predicted, seen.boxes, grow)
        height = center_form(predicted)[:, 3:] / np.maximum(center_form(seen.boxes)[None, :, 3], 1.0)
        alike = np.minimum(height, 1 / np.maximum(height, 1e-9))  # BoT/Hybrid-SORT: heights change slowly
        place = 1 - overlap * np.sqrt(alike)
        cost = place.copy()
        looks = self._distances(tracks, seen)
        known = np.isfinite(looks)
        w = s.appearance_weight * (0.5 if doubtful else 1.0)
        scaled = np.clip(looks / self._looks.other, 0.0, 1.0)
        cost[known] = (1 - w) * place[known] + w * scaled[known]
        surprise = self._motion.mahalanobis(seen.boxes)[tracks]
        cost[(overlap < s.min_iou) | (alike < MIN_ALIKE) | (surprise > MAX_SURPRISE)] = IMPOSSIBLE
        # Where somebody was a while ago may stand somebody else now: then looks decide, or at least real overlap.
        away = (unseen > self._coast_s)[:, None]
        clear = known & (quality >= CLEAR_QUALITY)[None, :]
        stranger = clear & (looks > self._looks.between(STRANGER_SHARE))
        stranger |= known & (looks > self._looks.other)  # even a poor picture says whom it does not show
        blind = ~clear & ((overlap < 0.3) | (unseen > BLIND_S)[:, None])
        cost[away & (stranger | blind)] = IMPOSSIBLE
        sure_height = np.array([self._tracks[i].sure_height for i in tracks])[:, None]
        change = sure_height / np.maximum(center_form(seen.boxes)[None, :, 3], 1.0)
        change = np.maximum(change, 1 / np.maximum(change, 1e-9))
        since_sure = np.array([(t_ns - self._tracks[i].t_sure_ns) / 1e9 for i in tracks])[:, None]
        cost[(change > SURE_CHANGE) & (since_sure < WEAK_S)] = IMPOSSIBLE
        if doubtful:
            # A weak box is believed where it looks like the last sure one: as high, in place, not for long.
            cost[(place > 0.6) | (change > WEAK_CHANGE) | (since_sure > WEAK_S)] = IMPOSSIBLE
        return cost

    def _learn_looks(
        self,
        tracks: NDArray[np.intp],
        rows: NDArray[np.intp],
        matched: Matching,
        detections: Detections,
        cost: NDArray[np.float64],
    ) -> None:
        """How far apart pictures of one person are here, and pictures of two: from pairs that place alone decides."""
        looks = self._distances(tracks, detections.where(rows))
        overlap = iou(self._motion.boxes()[tracks], detections.boxes[rows])
        for i, j in zip(matched.rows, matched.columns, strict=True):
            alone = (overlap[:, j] > 0.1).sum() == 1 and (overlap[i] > 0.1).sum() == 1
            if alone and overlap[i, j] > 0.5:
                others = np.delete(looks[matched.rows, j], np.flatnonzero(matched.rows == i))
                self._looks.learn(looks[i, j], others[np.isfinite(others)])

    def _distances(self, tracks: NDArray[np.intp], seen: Detections) -> NDArray[np.float64]:
        """(N, M) cosine distance where both sides have an embedding, NaN elsewhere."""
        looks = np.full((len(tracks), len(seen)), np.nan)
        if len(seen.embedded):
            for k, i in enumerate(tracks):
                appearance = self._tracks[i].appearance
                if appearance is not None:
                    looks[k, seen.embedded] = 1 - seen.embeddings @ appearance
        return looks

    def _revive(
        self,
        t_ns: int,
        tracks: NDArray[np.intp],
        rows: NDArray[np.intp],
        detections: Detections,
        quality: NDArray[np.float64],
    ) -> NDArray[np.intp]:
        """Lost tracks taken up again by looks, anywhere within walking distance."""
        if not len(tracks) or not len(rows):
            return rows
        seen = detections.where(rows)
        looks = self._distances(tracks, seen)
        last = center_form(np.stack([self._tracks[i].box for i in tracks]))
        now = center_form(seen.boxes)
        unseen = np.array([self._unseen_s(t_ns, int(i)) for i in tracks])
        reach = (0.5 + WALK_HEIGHTS_S * unseen)[:, None] * np.maximum(last[:, 3:], now[None, :, 3])
        far = np.hypot(last[:, None, 0] - now[None, :, 0], last[:, None, 1] - now[None, :, 1]) > reach
        ratio = last[:, 3:] / np.maximum(now[None, :, 3], 1.0)
        odd = np.maximum(ratio, 1 / np.maximum(ratio, 1e-9)) > 1.6
        looks[far | odd | (quality[rows] < 0.3)[None, :]] = np.nan
        matched = assign(looks, self._looks.between(self.settings.revive_share))
        sure = [
            k for k in range(len(matched.rows)) if clearly_best(looks, matched.rows[k], matched.columns[k])
        ]
        for k in sure:
            self._take(t_ns, int(tracks[matched.rows[k]]), int(rows[matched.columns[k]]), detections, quality)
            self._restart_motion(int(tracks[matched.rows[k]]), detections.boxes[rows[matched.columns[k]]])
        taken = matched.columns[sure]
        return np.delete(rows, taken)

    def _restart_motion(self, index: int, box: NDArray[np.float32]) -> None:
        """Where it walked unseen is unknown: the filter begins again at rest."""
        fresh = MotionBatch(self._motion.model)
        fresh.start(box[None])
        for name in ("mean", "speed", "p", "c", "v"):
            getattr(self._motion, name)[index] = getattr(fresh, name)[0]
        if self._footing is not None:
            self._footing.restart(index, box, self.image_size)

    def _take(
        self, t_ns: int, index: int, row: int, detections: Detections, quality: NDArray[np.float64]
    ) -> None:
        """Detection ``row`` is track ``index`` now."""
        track = self._tracks[index]
        is_back = (track.missed or self._was_away) and self._unseen_s(t_ns, index) > GAP_S
        if is_back or self._crowded[row]:
            track.doubt.risk(t_ns, is_back=bool(is_back))
        track.missed = 0
        track.row, track.t_seen_ns = row, t_ns
        track.box, track.score = detections.boxes[row], float(detections.scores[row])
        track.seen += 1
        track.score_sum += track.score
        if track.score >= self.sure_score:
            track.t_sure_ns, track.sure_height = t_ns, float(track.box[3] - track.box[1])
        self._remember(t_ns, track, row, detections, float(quality[row]))
        if not track.confirmed and (t_ns - track.t_first_ns) / 1e9 >= self.settings.confirm_s:
            track.confirmed = track.changed = True

    def _remember(self, t_ns: int, track: Track, row: int, detections: Detections, quality: float) -> None:
        found = np.flatnonzero(detections.embedded == row)
        if not len(found):
            return
        embedding = detections.embeddings[found[0]]
        track.t_embedded_ns = t_ns
        is_clear = quality >= CLEAR_QUALITY
        track.doubt.forget(t_ns - round(self._doubt_s * 1e9))
        if track.appearance is not None and track.embedding_count >= CUT_AFTER:
            share = self._looks.share(1 - float(track.appearance @ embedding))
            if track.doubt or (is_clear and share > DOUBT_SHARE):
                picture = Picture(t_ns, embedding, quality, share)
                # A poor picture decides nothing. A track that has gone over is cut when all are matched.
                if is_clear and track.doubt.add(picture, track.embedding_count, self._looks):
                    self._settle(track)
                return
        if is_clear:
            track.doubt.clear(t_ns)
        self._take_in(track, embedding, quality)

    def _settle(self, track: Track) -> None:
        """Its doubt ends, and with nobody else."""
        for one in track.doubt.settled():
            self._take_in(track, one.embedding, one.quality)

    def _take_in(self, track: Track, embedding: NDArray[np.float32], quality: float) -> None:
        """One more picture of the track's person."""
        weight = quality**2
        if track.appearance is None:
            track.appearance = embedding
            track.embedding_sum = np.zeros(len(embedding))
        else:
            # Strong-SORT's moving average (Du et al., TMM 2023, eq. 1), slower for poor pictures.
            blend = track.appearance + 0.15 * weight * (embedding - track.appearance)
            track.appearance = (blend / max(float(np.linalg.norm(blend)), 1e-9)).astype(np.float32)
        assert track.embedding_sum is not None
        if quality < 0.3 and track.embedding_count:
            return
        track.embedding_sum = track.embedding_sum + max(weight, 1e-3) * embedding
        track.weight_sum += max(weight, 1e-3)
        track.embedding_count += 1
        track.embeddings.append(embedding)
        track.quality.append(quality)
        if len(track.embeddings) > 3 * self.settings.prototypes:
            self._thin(track)

    def _thin(self, track: Track) -> None:
        keep = select_diverse(np.stack(track.embeddings), np.array(track.quality), self.settings.prototypes)
        track.embeddings = [track.embeddings[i] for i in keep]
        track.quality = [track.quality[i] for i in keep]
        track.changed = track.confirmed

    def _correct(self, tracks: NDArray[np.intp], rows: NDArray[np.intp], detections: Detections) -> None:
        trust = 0.5 + 0.5 * detections.scores[rows].astype(np.float64)
        self._motion.correct(tracks, detections.boxes[rows], trust)
        if self._footing is not None:
            self._footing.correct(tracks, detections.boxes[rows], self.image_size)

    def _start(
        self, t_ns: int, rows: NDArray[np.intp], detections: Detections, quality: NDArray[np.float64]
    ) -> None:
        good = detections.scores[rows] >= self._start_score
        rows = rows[good]
        taken = [t.box for t in self._tracks if t.row != NO_DETECTION]
        if len(rows) and taken:
            # A second box on somebody who has one already is no second person.
            second = covered(detections.boxes[rows], np.stack(taken)) >= 0.85
            if self._footing is not None and self._is_rare:
                both = np.concatenate((detections.boxes[rows], taken))
                second &= ~self._footing.apart(both, self.image_size)[: len(rows), len(rows) :]
            rows = rows[~second.any(axis=1)]
        self._tracks += [self._begun(t_ns, int(row), detections, quality) for row in rows]
        self._motion.start(detections.boxes[rows])
        if self._footing is not None:
            self._footing.start(detections.boxes[rows], self.image_size)

    def _begun(self, t_ns: int, row: int, detections: Detections, quality: NDArray[np.float64]) -> Track:
        """A new track that begins with detection ``row``."""
        box = detections.boxes[row]
        score = float(detections.scores[row])
        track = Track(self._next, t_ns, t_ns, box, box, score, Doubt(t_ns), row=row)
        track.score_sum = track.score
        track.t_sure_ns, track.sure_height = t_ns, float(box[3] - box[1])
        track.confirmed = track.changed = self.settings.confirm_s == 0
        self._next += 1
        self._remember(t_ns, track, row, detections, float(quality[row]))
        return track

    def _cut(self, t_ns: int) -> None:
        """Part a track that has gone over to somebody else: the old one is lost, the rest is a new one."""
        for index, old in enumerate(list(self._tracks)):
            if not old.doubt.is_stranger:
                continue
            pictures = old.doubt.pictures
            # Until now the boxes were told under the old number: the new one begins here, so that the linker may
            # still find that the two are one person.
            new = Track(
                self._next,
                t_ns,
                t_ns,
                old.box,
                old.box,
                old.score,
                Doubt(t_ns),
                row=old.row,
                seen=len(pictures),
            )
            self._next += 1
            new.score_sum = old.score * new.seen
            new.t_sure_ns, new.sure_height = old.t_sure_ns, old.sure_height
            new.confirmed = new.changed = old.confirmed
            for one in pictures:
                self._take_in(new, one.embedding, one.quality)
            new.t_embedded_ns = old.t_embedded_ns
            self._tracks.append(new)
            self._motion.copy(index)
            if self._footing is not None:
                self._footing.copy(index)
            old.row, old.t_seen_ns, old.t_held_ns = NO_DETECTION, pictures[0].t_ns, 0
            old.changed = old.confirmed
            old.doubt = Doubt(old.t_seen_ns)

    def _end(self, t_ns: int) -> list[Tracklet]:
        # Somebody new is missed once, where the next look is later than a track takes to be told.
        patience_s = MISSED_LOOKS * self._pause_ns / 1e9 if self._is_rare else 0.0
        keep = np.array(
            [
                self._unseen_s(t_ns, n) <= (self._lost_s if t.confirmed else patience_s)
                for n, t in enumerate(self._tracks)
            ],
            bool,
        )
        ended = [
            self._tracklet(t, ended=True)
            for t, kept in zip(self._tracks, keep, strict=True)
            if not kept and t.confirmed
        ]
        self._tracks = [t for t, kept in zip(self._tracks, keep, strict=True) if kept]
        self._motion.keep(keep)
        if self._footing is not None:
            self._footing.keep(keep)
        return ended

    # ---- what is told ----------------------------------------------------------------------------------------

    def _unseen_s(self, t_ns: int, index: int) -> float:
        track = self._tracks[index]
        return (t_ns - max(track.t_seen_ns, track.t_held_ns)) / 1e9

    def _unmatched(self, tracks: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.array([i for i in tracks if self._tracks[i].row == NO_DETECTION], np.intp)

    def _tracks_now(self) -> Tracks:
        boxes = self._motion.boxes()
        states = [
            TENTATIVE if not t.confirmed else CONFIRMED if t.row != NO_DETECTION else LOST
            for t in self._tracks
        ]
        for n, t in enumerate(self._tracks):
            if t.row == CARRIED:
                boxes[n] = carried(t.box, self._anchors[n], boxes[n])
            elif t.row != NO_DETECTION:
                boxes[n] = t.box
                t.velocity_px_s = self._motion.speed[n, :2].astype(np.float32)
        return Tracks.of(
            np.array([t.number for t in self._tracks], np.int64),
            boxes,
            np.array(states, np.int8),
            scores=np.array([t.score for t in self._tracks], np.float32),
            detections=np.array([t.row for t in self._tracks], np.int32),
        )

    def _tracklets_changed(self, t_ns: int) -> list[Tracklet]:
        out = []
        for t in self._tracks:
            due = t.confirmed and (t_ns - t.t_published_ns) / 1e9 >= PUBLISH_EVERY_S
            if t.confirmed and (t.changed or due):
                t.t_published_ns = t_ns
                out.append(self._tracklet(t, ended=False))
        return out

    def _tracklet(self, track: Track, *, ended: bool) -> Tracklet:
        if ended and not track.doubt.is_risky:
            self._settle(track)
        track.revision += 1
        track.changed = False
        if len(track.embeddings) > self.settings.prototypes:
            self._thin(track)
            track.changed = False
        if track.embedding_sum is not None:
            mean = (track.embedding_sum / track.weight_sum).astype(np.float32)
            prototypes = np.stack(track.embeddings).astype(np.float16)
        else:
            mean, prototypes = np.zeros(0, np.float32), np.zeros((0, 0), np.float16)
        return Tracklet(
            key=TrackKey(camera_id=self.camera_id, run=self.run, number=track.number),
            revision=track.revision,
            ended=ended,
            t_first_ns=track.t_first_ns,
            t_last_ns=track.t_seen_ns,
            first_box=np.array(track.first_box, np.float32),
            last_box=np.array(track.box, np.float32),
            velocity_px_s=track.velocity_px_s,
            image_size=self.image_size,
            boxes_seen=track.seen,
            score_mean=track.score_sum / track.seen,
            prototypes=prototypes,
            quality=np.array(track.quality, np.float32),
            mean_embedding=mean,
            embeddings_seen=track.embedding_count,
            model_hash=self.model_hash,
        )


def sound(detections: Detections) -> Detections:
    """The same N rows; a box or score that is no finite number becomes a box without area, such a look none."""
    right = np.isfinite(detections.boxes).all(axis=1) & np.isfinite(detections.scores)
    known = np.isfinite(detections.embeddings).all(axis=1)
    if right.all() and known.all():
        return detections
    return Detections(
        boxes=np.where(right[:, None], detections.boxes, np.float32(0)),
        scores=np.where(right, detections.scores, np.float32(0)),
        classes=detections.classes,
        embedded=detections.embedded[known],
        embeddings=detections.embeddings[known],
    )


def carried(
    box: NDArray[np.floating], before: NDArray[np.floating], after: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The detection ``box`` (4,) of a keyframe, moved and grown as its filter has gone from ``before`` to ``after``."""
    was, start, now = center_form(np.stack([box, before, after]))
    grown = now[2:] / np.maximum(start[2:], 1.0)
    return corner_form(np.concatenate([was[:2] + now[:2] - start[:2], was[2:] * grown])[None])[0]


def clearly_best(cost: NDArray[np.float64], row: int, column: int, ratio: float = 1.1) -> bool:
    """No other row or column comes within ``ratio`` of this pair's cost."""
    here = cost[row, column]
    others = np.concatenate((np.delete(cost[row], column), np.delete(cost[:, column], row)))
    others = others[np.isfinite(others)]
    return not len(others) or bool(others.min() > here * ratio)


def crowded(boxes: NDArray[np.floating], believed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) which of (N, 4) boxes overlap so much with believed ones that one person may be taken for the other.

    Boxes that are nearly the same are on one person.
    """
    overlap = iou(boxes, boxes)
    return np.asarray(((overlap > CROWDED_IOU) & (overlap < SAME_IOU))[:, believed].any(axis=1))


def picture_quality(detections: Detections, image_size: tuple[int, int]) -> NDArray[np.float64]:
    """(N,) in [0, 1]: how much of a person a box shows. Big, sure, whole and unhidden boxes are good pictures."""
    n = len(detections)
    if not n:
        return np.zeros(0)
    boxes = detections.boxes.astype(np.float64)
    cover = covered(boxes, boxes)
    np.fill_diagonal(cover, 0.0)
    # Who stands lower in the picture stands nearer and hides the other.
    nearer = boxes[None, :, 3] > boxes[:, None, 3]
    hidden = np.where(nearer, cover, 0.35 * cover).max(axis=1)
    height = boxes[:, 3] - boxes[:, 1]
    big = np.clip(height / 96.0, 0.2, 1.0)
    shape = np.clip(
        height / np.maximum(boxes[:, 2] - boxes[:, 0], 1.0) / 1.6, 0.3, 1.0
    )  # cut at the legs: squat
    w, h = image_size
    cut = np.zeros(n)
    if w and h:
        margin = 2.0
        cut = ((boxes[:, 0] < margin) | (boxes[:, 2] > w - margin)).astype(float) * 0.4
        cut += ((boxes[:, 1] < margin) | (boxes[:, 3] > h - margin)).astype(float) * 0.3
    empty = areas(boxes) <= 0
    quality = (
        np.clip(detections.scores, 0, 1) ** 0.5 * big * shape * (1 - hidden) * (1 - np.minimum(cut, 0.6))
    )
    return np.where(empty, 0.0, np.clip(quality, 0.0, 1.0))
