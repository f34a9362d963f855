"""Which tracklets are one person: correlation clustering with cannot-link, by joining mutually best groups.

Greedy agglomeration over groups whose looks are pooled; a join must beat the alternatives that exclude it (somebody
else at the same time in the same view) and the alternative "new person", so every join has a probability.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tracker.core.appearance import MANY_PICTURES, AppearanceModel, unit
from tracker.core.company import Note
from tracker.core.meeting import PLACES, place_of
from tracker.core.parts import NO_PICTURES, Pictures, pictures_of, showing
from tracker.core.walking import Walks, crowding_llr, ending, followed, onward_llr
from tracker.core.work import Work, done
from tracker.types import Evidence, Sighting, TrackKey, Tracklet, array_to_plain, plain_to_array

F = NDArray[np.float64]

SAID_LLR = 1.0  # what was said stays said unless there is better
MAX_MEETING_LLR = 200.0
WALKED_HEIGHTS = 0.5
KNOWN_PICTURES = 3  # from fewer pictures nobody is learned from
CORE_S = 0.5  # a tracklet seen for less, or never embedded, joins people but never joins two of them
STEP_S = 0.4  # how often a place on the floor is noted
NEARLY_S = 0.8  # a place of so shortly before is where somebody was
STEPS = 4  # of these, the last so many: a velocity over 1.2 s or more
MOST_GLIMPSES = 12  # of one tracklet
SIGHT_EVERY_S = 0.5  # how often a piece's place in the picture is noted
SIGHTS = 240  # of these, the last so many
NEVER = -1e6
MOST_BESIDES = 12.0  # log-odds that looks and time may add to a walk's
TOGETHER = 0.5  # in one round are joined those at least so sure, as a share of the surest's log-odds
NEW_EXPONENT = 0.4  # who comes is none of N known people with odds N^this: python -m benchmarks.cue_weights
AWAY_S = 1.5  # unseen for longer: nobody followed them, and they may have come from anywhere
LEAST_NEW_ODDS = 0.1  # of somebody new who was away
PART = 64  # rows that are weighed at once
SOME = 16  # of what takes longer
FEW = 16  # joins are weighed one by one where they are so many times fewer than a product of matrices weighs
LEAST_GAIN = 2.0  # log-odds by which a change of a reading must be better
CREDIT = (
    20  # sure joins that a reading begins with, so that the first doubtful one is not refused for being first
)


Step = tuple[float, float, float, float, float, float]  # t_s, x, y, sigma_m, and the nearest x, y (`Tracks`)
# As `Piece.see` is told.
Seen = tuple[int, NDArray[np.float32], NDArray[np.float32], float, NDArray[np.float32]]


class Own(NamedTuple):
    """What is the person's own in a piece's looks, worked out once for what is known of the cameras."""

    version: object
    looks: F | None  # (D,) unit row
    pictures: float


class Glimpse(NamedTuple):
    """What was known of a tracklet's looks at a time."""

    t_ns: int
    box: NDArray[np.float32]  # (4,) where it was seen last
    pictures: Pictures


class Piece:
    """A tracklet with what the linker has watched of it since: where it was and when."""

    def __init__(self, tracklet: Tracklet) -> None:
        self.tracklet = tracklet
        self.key = tracklet.key
        self.t_last_ns = tracklet.t_last_ns
        self.t_found_ns = tracklet.t_last_ns  # by the detector, which may rest
        self.sights: list[tuple[int, int]] = []  # t_ns, cell of the picture (meeting.py)
        self.box: NDArray[np.float32] = tracklet.last_box
        self.place: tuple[float, float] | None = None
        self.first_place: tuple[float, float] | None = None
        self.sigma_m, self.first_sigma_m = float("nan"), float("nan")
        self.steps: list[Step] = []  # the last places, STEP_S apart
        self.first_steps: list[Step] = []
        self.trail: list[Seen] = []  # of the last seconds, where it is asked for
        self.glimpses: list[Glimpse] = []  # what was known of its looks, and when
        self.moves = 0  # from one identity to another, by revisions
        self.t_asked_ns = 0  # when it was last asked whether it shows two people
        self.is_settled = False  # where it stood on the floor will not be looked at again
        self.walked = False  # has been elsewhere than where it began: no chair, no poster
        self.t_recalled_ns = 0  # when its identity, long unseen, was recognised
        self.holds: list[tuple[TrackKey, int]] = []  # tracklets joined to it for good, and when they ended
        self.held_looks: NDArray[np.float32] | None = None  # (D,) unit row of the person's own in their looks
        self.held_pictures, self._held_boxes = 0.0, 0
        self._looks: NDArray[np.float32] | None = None
        self.is_shown = False  # to a revision: whoever would change it takes a copy
        self.own: Own | None = None  # kept by `columns.own_looks`
        self._speed_m_s: tuple[float, float] | None = None
        self._take_looks()
        self._glimpse()

    def update(self, tracklet: Tracklet) -> None:
        """A newer revision of the tracklet."""
        self.tracklet = tracklet
        if tracklet.t_last_ns > self.t_last_ns:
            self.t_last_ns, self.box = tracklet.t_last_ns, tracklet.last_box
        self._take_looks()
        self._glimpse()

    def _glimpse(self) -> None:
        """Note what its looks are by now, if there are more pictures of it."""
        told = self.tracklet
        known = self.glimpses[-1].pictures.number if self.glimpses else 0
        if self._looks is None or told.embeddings_seen <= known:
            return
        self.glimpses = [*self.glimpses, Glimpse(told.t_last_ns, told.last_box, pictures_of(told))]
        if len(self.glimpses) > MOST_GLIMPSES:  # the one that tells least is let go, but never the last
            number = np.array([one.pictures.number for one in self.glimpses[:-1]])
            del self.glimpses[int(np.argmin(np.diff(number, prepend=0)[:-1] + np.diff(number)))]

    def hold(self, earlier: Piece, looks: F, pictures: float) -> None:
        """Join an earlier tracklet of the same person for good: its looks count on, its places do not.

        Args:
            looks: (D,) unit row of what is the person's own in its looks, of so many ``pictures``.
        """
        if pictures:
            held = 0.0 if self.held_looks is None else self.held_pictures * self.held_looks
            self.held_looks = unit(held + pictures * looks).astype(np.float32)
            self.held_pictures += pictures
            self.own = None
        self._held_boxes += earlier.boxes_seen
        self.holds = [*self.holds, *earlier.holds, (earlier.key, earlier.t_last_ns)]
        self.walked = self.walked or earlier.walked

    def see(
        self,
        t_ns: int,
        box: NDArray[np.float32],
        floor_xy_m: NDArray,
        sigma_m: float,
        near_xy_m: NDArray[np.floating] | tuple[float, float] = (np.nan, np.nan),
    ) -> None:
        """Seen in a frame, with the foot point on the floor where it is known (else NaN)."""
        self.t_last_ns, self.box, self.is_settled = max(self.t_last_ns, t_ns), box, False
        if not self.sights or t_ns - self.sights[-1][0] >= SIGHT_EVERY_S * 1e9:
            self.sights = [*self.sights, (t_ns, place_of(*self.went_xy))][-SIGHTS:]
        if not self.walked:
            first = self.tracklet.first_box
            off = np.hypot(*((box[:2] + box[2:] - first[:2] - first[2:]) / 2))
            self.walked = bool(off > WALKED_HEIGHTS * (first[3] - first[1]))
        place = (float(floor_xy_m[0]), float(floor_xy_m[1]))
        if isfinite(place[0]) and isfinite(place[1]) and isfinite(sigma_m):
            self.place = place
            self.sigma_m = float(sigma_m)
            t_s = t_ns / 1e9
            if not self.steps or t_s - self.steps[-1][0] >= STEP_S:
                step = (t_s, *self.place, self.sigma_m, float(near_xy_m[0]), float(near_xy_m[1]))
                self.steps, self._speed_m_s = [*self.steps, step][-STEPS:], None
                if len(self.first_steps) < STEPS:
                    self.first_steps = [*self.first_steps, step]
            if self.first_place is None:
                self.first_place, self.first_sigma_m = self.place, self.sigma_m

    def take_back(self) -> None:
        """Since its tracklet ends, its camera had somebody else for it."""
        until_ns = self.tracklet.t_last_ns
        self.t_last_ns, self.box = until_ns, self.tracklet.last_box
        self.sights = [sight for sight in self.sights if sight[0] <= until_ns]
        self.first_steps = [step for step in self.first_steps if step[0] * 1e9 <= until_ns]
        self.steps, self._speed_m_s = [step for step in self.steps if step[0] * 1e9 <= until_ns], None
        self._stand_at(until_ns)
        self.trail = [one for one in self.trail if one[0] <= until_ns]
        self.t_found_ns = until_ns

    def remember(self, seen: Seen, for_s: float) -> None:
        """Keep what `see` was told, so that the piece can be cut within the last ``for_s`` seconds."""
        if not self.trail or seen[0] - self.trail[-1][0] >= STEP_S * 1e9:
            since_ns = seen[0] - for_s * 1e9
            self.trail = [*(one for one in self.trail if one[0] >= since_ns), seen]

    def cut(self, later: TrackKey) -> tuple[Piece, Piece] | None:
        """What it was before ``later`` begins, and what it is from then on.

        None where it was not seen both before and after.
        """
        seen = [(one[0], one[1]) for one in self.trail] or [(one.t_ns, one.box) for one in self.glimpses]
        before, after = (
            [one for one in seen if (one[0] < later.since_ns) == is_before] for is_before in (True, False)
        )
        told = self.tracklet
        if not before or not after or told.boxes_seen < 2:
            return None
        share = (told.t_last_ns - later.since_ns) / max(told.t_last_ns - told.t_first_ns, 1)
        boxes = int(np.clip(round(share * told.boxes_seen), 1, told.boxes_seen - 1))
        glimpses = [one for one in self.glimpses if one.t_ns < later.since_ns]
        pictures = glimpses[-1].pictures if glimpses else NO_PICTURES
        first = Piece(
            msgspec.structs.replace(
                showing(told, pictures),
                ended=True,
                t_last_ns=before[-1][0],
                last_box=before[-1][1],
                boxes_seen=told.boxes_seen - boxes,
            )
        )
        rest = Piece(
            msgspec.structs.replace(
                showing(told, pictures_of(told).without(pictures)),
                key=later,
                t_first_ns=after[0][0],
                first_box=after[0][1],
                boxes_seen=boxes,
            )
        )
        self._hand_down(first, rest)
        first.glimpses = glimpses
        rest.glimpses = [
            one._replace(pictures=one.pictures.without(pictures)) for one in self.glimpses[len(glimpses) :]
        ]
        return first, rest

    def _hand_down(self, first: Piece, rest: Piece) -> None:
        """What was watched of it, to its two parts."""
        since_ns = rest.key.since_ns
        for piece, trail in (
            (first, [one for one in self.trail if one[0] < since_ns]),
            (rest, [one for one in self.trail if one[0] >= since_ns]),
        ):
            piece.trail = trail
            for one in trail:
                piece.see(*one)
        if not self.trail:  # what is noted of its way is enough
            for step in self.first_steps + self.steps:
                (first if step[0] * 1e9 < since_ns else rest)._step(step)
            first._stand_at(first.t_last_ns)
            if rest.steps:
                rest.place, rest.sigma_m = self.place, self.sigma_m
            if (
                rest.first_steps
                and abs(rest.first_steps[0][0] * 1e9 - rest.tracklet.t_first_ns) > NEARLY_S * 1e9
            ):
                rest.first_place, rest.first_sigma_m = None, float("nan")
            rest.t_last_ns, rest.box, rest.walked = self.t_last_ns, self.box, self.walked
            rest.t_found_ns = self.t_found_ns
            rest.sights = [sight for sight in self.sights if sight[0] >= since_ns]
        first.sights = [sight for sight in self.sights if sight[0] < since_ns]
        first.first_steps = [step for step in self.first_steps if step[0] * 1e9 < since_ns]
        first.first_place, first.first_sigma_m = self.first_place, self.first_sigma_m
        first.walked, first.t_recalled_ns = self.walked, self.t_recalled_ns
        first.holds, first._held_boxes = self.holds, self._held_boxes
        first.held_looks, first.held_pictures = self.held_looks, self.held_pictures
        first.t_asked_ns = rest.t_asked_ns = self.t_asked_ns
        first.moves = rest.moves = self.moves

    def _stand_at(self, t_ns: int) -> None:
        """It was last where it took its last step, if that was about then."""
        if self.steps and t_ns - self.steps[-1][0] * 1e9 <= NEARLY_S * 1e9:
            _, x, y, self.sigma_m = self.steps[-1][:4]
            self.place = x, y
        else:
            self.place, self.sigma_m = None, float("nan")

    def _step(self, step: Step) -> None:
        """A place on the floor; those before it are known already."""
        if self.steps and step[0] <= self.steps[-1][0]:
            return
        self.place, self.sigma_m = (step[1], step[2]), step[3]
        self.steps, self._speed_m_s = [*self.steps, step][-STEPS:], None
        if len(self.first_steps) < STEPS:
            self.first_steps = [*self.first_steps, step]
        if self.first_place is None:
            self.first_place, self.first_sigma_m = self.place, self.sigma_m

    def copy(self) -> Piece:
        """One to be changed while this one stays as it is."""
        one = Piece.__new__(Piece)
        one.__dict__ = self.__dict__ | {"is_shown": False}
        return one

    @property
    def speed_m_s(self) -> tuple[float, float]:
        """Velocity on the floor over the last places; NaN where it is not known."""
        if len(self.steps) < 2:
            return float("nan"), float("nan")
        if self._speed_m_s is None:
            (t0, x0, y0), (t1, x1, y1) = self.steps[0][:3], self.steps[-1][:3]
            self._speed_m_s = (x1 - x0) / (t1 - t0), (y1 - y0) / (t1 - t0)
        return self._speed_m_s

    @property
    def walk(self) -> tuple[float, float, float, float, float]:
        """Where it was last on the floor, its error and velocity: x_m, y_m, sigma_m, m/s, m/s; NaN where not known."""
        return (*(self.place or (float("nan"), float("nan"))), self.sigma_m, *self.speed_m_s)

    @property
    def looks(self) -> NDArray[np.float32] | None:
        """(D,) mean of the unit embeddings, not itself of unit length; None if never embedded."""
        return self._looks

    @property
    def came_xy(self) -> tuple[float, float]:
        """Foot point of the first box, in shares of the picture."""
        return _share_of_picture(self.tracklet.first_box, self.tracklet.image_size)

    @property
    def went_xy(self) -> tuple[float, float]:
        """Foot point of the last box, in shares of the picture."""
        return _share_of_picture(self.box, self.tracklet.image_size)

    @property
    def own_pictures(self) -> float:
        """Of how many pictures the tracklet's own looks are; more than `MANY_PICTURES` of one walk show little new."""
        return 0.0 if self._looks is None else min(self.tracklet.embeddings_seen, MANY_PICTURES)

    @property
    def pictures(self) -> float:
        """Of how many pictures its looks are, with all that it holds."""
        return self.own_pictures + self.held_pictures

    @property
    def boxes_seen(self) -> int:
        """Boxes of it and of all that it holds."""
        return self.tracklet.boxes_seen + self._held_boxes

    def forget_looks(self) -> None:
        """The embedder has changed: its rows cannot be compared any more."""
        self._looks = self.held_looks = self.own = None
        self.held_pictures, self.glimpses = 0.0, []

    def looks_as(self, other: Piece) -> bool:
        """Whether all that is known of its looks is of the same pictures as another's."""
        return self._looks is other._looks and self.held_looks is other.held_looks

    def distance(self, other: Piece) -> float:
        """Mean cosine distance of all pairs of pictures; NaN where one has none."""
        if self._looks is None or other._looks is None:
            return float("nan")
        return 1.0 - float(self._looks @ other._looks)

    def first_sighting(self) -> Sighting:
        t = self.tracklet
        return _sighting(self.key, t.t_first_ns, t.first_box, self.first_place)

    def last_sighting(self) -> Sighting:
        return _sighting(self.key, self.t_last_ns, self.box, self.place)

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "tracklet": msgspec.to_builtins(self.tracklet, builtin_types=(bytes,), enc_hook=array_to_plain),
            "t_last_ns": self.t_last_ns,
            "t_found_ns": self.t_found_ns,
            "sights": self.sights,
            "box": [float(v) for v in self.box],
            "place": self.place,
            "walked": self.walked,
            "first_place": self.first_place,
            "steps": self.steps,
            "first_steps": self.first_steps,
            "trail": seen_state(self.trail),
            "settled": self.is_settled,
            "glimpses": [
                [one.t_ns, one.box.tolist(), one.pictures.number, one.pictures.mean.tobytes()]
                for one in self.glimpses
            ],
            "t_asked_ns": self.t_asked_ns,
            "moves": self.moves,
            "sigmas_m": [None if np.isnan(v) else v for v in (self.sigma_m, self.first_sigma_m)],
            "looks": self._looks is not None,
            "t_recalled_ns": self.t_recalled_ns,
            "holds": [[msgspec.to_builtins(key), t_ns] for key, t_ns in self.holds],
            "held_looks": b"" if self.held_looks is None else self.held_looks.tobytes(),
            "held": [self.held_pictures, self._held_boxes],
        }

    def slim_state(self) -> dict[str, Any]:
        """As `to_state`, of somebody long unseen: without what is told of looks and of the way."""
        tracklet = msgspec.structs.replace(
            self.tracklet,
            prototypes=np.zeros((0, 0), np.float16),
            quality=np.zeros(0, np.float32),
            mean_embedding=np.zeros(0, np.float32),
            embeddings_seen=0,
        )
        plain = msgspec.to_builtins(tracklet, builtin_types=(bytes,), enc_hook=array_to_plain)
        return self.to_state() | {
            "tracklet": plain,
            "sights": [],
            "steps": [],
            "first_steps": [],
            "trail": [],
            "glimpses": [],
            "holds": [],
            "held_looks": b"",
            "held": [0.0, self._held_boxes],
            "looks": False,
        }

    def look_like(self, looks: NDArray[np.floating], pictures: float) -> None:
        """What was known of somebody's own looks (D,) before they were long unseen."""
        self.held_looks, self.held_pictures, self.own = np.asarray(looks, np.float32), pictures, None

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Piece:
        """Back from a checkpoint."""
        piece = cls(msgspec.convert(state["tracklet"], Tracklet, dec_hook=plain_to_array))
        piece.t_last_ns = state["t_last_ns"]
        piece.t_found_ns = int(state.get("t_found_ns", piece.t_found_ns))
        piece.sigma_m, piece.first_sigma_m = (np.nan if v is None else v for v in state["sigmas_m"])
        piece.sights = [(int(t), int(cell)) for t, cell in state["sights"]]
        piece.box = np.array(state["box"], np.float32)
        piece.walked = bool(state["walked"])
        piece.place = None if state["place"] is None else (state["place"][0], state["place"][1])
        piece.steps, piece.first_steps = (
            [(t, x, y, sigma_m, x_near, y_near) for t, x, y, sigma_m, x_near, y_near in state[name]]
            for name in ("steps", "first_steps")
        )
        piece.trail, piece.is_settled = seen_of(state.get("trail", ())), bool(state.get("settled"))
        first = state["first_place"]
        piece.first_place = None if first is None else (first[0], first[1])
        piece.t_recalled_ns, piece.t_asked_ns = state["t_recalled_ns"], int(state.get("t_asked_ns", 0))
        piece.moves = int(state.get("moves", 0))
        piece.glimpses = [
            Glimpse(
                int(t_ns), np.array(box, np.float32), Pictures(int(number), np.frombuffer(mean, np.float32))
            )
            for t_ns, box, number, mean in state.get("glimpses", ())
        ]
        piece.holds = [(msgspec.convert(key, TrackKey), int(t_ns)) for key, t_ns in state["holds"]]
        if not state["looks"]:
            piece.forget_looks()
        piece.held_pictures, piece._held_boxes = state["held"]
        if state["held_looks"]:
            piece.held_looks = np.frombuffer(state["held_looks"], np.float32)
        return piece

    def _take_looks(self) -> None:
        mean = self.tracklet.mean_embedding
        self._looks = mean if len(mean) and self.tracklet.embeddings_seen else None
        self.own = None


def seen_state(seen: Sequence[Seen]) -> list[Any]:
    """Plain values for a checkpoint."""
    return [
        (t_ns, box.tolist(), xy.tolist(), sigma_m, near.tolist()) for t_ns, box, xy, sigma_m, near in seen
    ]


def seen_of(plain: Sequence[Any]) -> list[Seen]:
    """Back from a checkpoint."""
    return [
        (
            int(t_ns),
            np.array(box, np.float32),
            np.array(xy, np.float32),
            float(sigma_m),
            np.array(near, np.float32),
        )
        for t_ns, box, xy, sigma_m, near in plain
    ]


class Verdict(NamedTuple):
    """What is said of a decision."""

    probability: float  # that it is right
    runner_up: int | None  # the group that is next, if there is any
    runner_up_probability: float  # that it is of the runner-up's person, and not of the chosen one's


class Doubt(NamedTuple):
    """Some decisions are right or wrong for reasons that no cue knows: a tracklet that shows two people, an identity
    that is two. ``python -m benchmarks.cue_weights`` fits these."""

    share: float  # of such decisions
    right: float  # the share of them that are right
    second: float  # of which the runner-up is right

    def of(self, verdict: Verdict) -> Verdict:
        """What remains of a verdict."""
        first, second = verdict.probability, verdict.runner_up_probability
        return verdict._replace(
            probability=(1 - self.share) * first + self.share * self.right,
            runner_up_probability=(1 - self.share) * second + self.share * self.second,
        )


AT_ONCE = Doubt(0.24, 0.69, 0.25)  # a new tracklet's first identity
# A revision is told only where it contradicts what was told before.
MERGED = Doubt(0.58, 0.72, 0.25)
SPLIT = Doubt(0.44, 0.39, 0.25)


class Scores:
    """Log-odds that pieces or groups of them are one person. N pieces."""

    def __init__(
        self,
        looks: F,
        pictures: F,
        link: F,
        meeting: F,
        met: NDArray[np.bool_],
        conflict: NDArray[np.bool_],
        gap_s: F,
        appearance: AppearanceModel,
    ) -> None:
        """
        Args:
            looks: (N, D) unit rows of what is the person's own in their looks, zero where there is none.
            pictures: (N,) of how many pictures each is, as `Piece.pictures` counts them; 0 where none.
            link: (N, N) time, border and walk: for pieces one after the other, NEVER where they are at once.
            meeting: (N, N) place and co-presence: for pieces seen at once by two cameras.
            met: (N, N) where ``meeting`` holds. Places add up; that two cameras share a view counts once.
            conflict: (N, N) cannot be one person.
            gap_s: (N, N) time between them, negative where at once.
        """
        self.looks, self.pictures = looks, pictures
        self.link, self.meeting, self.met, self.conflict = link, meeting, met, conflict
        self.gap_s, self.longest_s = gap_s, np.inf
        self.appearance = appearance
        self.forced = np.zeros_like(conflict)
        self.placed = np.zeros_like(
            conflict
        )  # where ``meeting`` is a place seen, not only the cameras' shared view
        self.core = np.ones(len(pictures), bool)  # pieces that may join two people
        self.people = 1  # how many are known
        self.away = np.zeros_like(conflict)  # one was unseen, and for so long, before the other came
        self.new_away = 0.0  # as `new`, of these
        self.walks: Walks | None = None  # where they were on the floor
        self.walked = np.zeros_like(conflict)  # both of whom were
        self.bonds = np.zeros_like(link)  # what speaks for one camera's tracks going on as one another
        self.notes: list[Note] = []  # what was found of places in two pictures, for `Company.note_sights`
        self._pooled: tuple[NDArray[np.intp], tuple[csr_array, F, F]] | None = (
            None  # of the last owner asked about
        )
        self.onward = link  # (N, N) what speaks for one going on as another besides the walk

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def new(self) -> float:
        """Log-odds beforehand of somebody new against one of the known people."""
        return NEW_EXPONENT * float(np.log(max(self.people, 1)))

    def expect(self, people: int, new_share: float) -> None:
        """So many people are known, and of those who come from where nobody sees them that share is new.

        Who is known is one of those who may have been away, each as likely; the chance of all is one less the share.
        """
        self.people = people
        possible = (self.link > NEVER / 2) & ~self.conflict[: len(self.link)]
        self.away = possible & ~self.met & (self.gap_s > AWAY_S)
        others = len(self) - len(self.link) or len(self) - 1
        candidates = people * float(self.away.sum()) / max(len(self.link) * others, 1)
        odds = candidates * new_share / (1 - new_share)
        self.new_away = float(np.log(max(odds, LEAST_NEW_ODDS)))

    @property
    def after(self) -> F:
        """(N, N) ``link`` less the log-odds beforehand of somebody new."""
        return self.link - np.where(self.away, self.new_away, self.new)

    def forbid(self, i: int, j: int) -> None:
        """These two are not one person, whatever they look like."""
        self.conflict[i, j] = self.conflict[j, i] = True

    def force(self, i: int, j: int) -> None:
        """These two are one person, whatever they look like."""
        self.forced[i, j] = self.forced[j, i] = True

    def standing(self) -> Scores:
        """By who stood with whom, and by bonds: who goes on as whom on the floor, whole groups tell better."""
        if self.walks is None:
            return self
        other = copy.copy(self)
        other.link = np.where(self.walked & ~self.forced, NEVER, self.link)
        bound = (self.bonds != 0) & ~self.met
        other.meeting = np.where(bound, self.bonds, self.meeting)
        other.met, other.placed = self.met | bound, self.placed | bound
        return other

    def to_group(self, i: int, rows: Sequence[int]) -> float:
        """Log-odds of piece ``i`` belonging to a group; -inf where it cannot."""
        return self._of([i], list(rows))[0]

    def to_groups(self, queries: Sequence[Sequence[int]], owner: NDArray[np.intp], groups: int) -> F:
        """(R, G) log-odds of each of R queries belonging to each of G groups; -inf where it cannot.

        Args:
            queries: rows of the pieces of each; of those that all cues are known of.
            owner: (N,) the group of each piece, -1 for none; no group is empty.
        """
        member, means, pictures = self.pooled(owner, groups)
        some = np.unique(list(itertools.chain(*queries)))  # rows of all queries
        query = np.array([np.isin(some, rows) for rows in queries], float)
        weight = query * self.pictures[some]
        looks = self.appearance.llr(
            unit(weight @ self.looks[some]) @ means.T, weight.sum(axis=1)[:, None], pictures
        )

        met, placed = self.met[some], self.placed[some]
        guessed, meeting = met & ~placed, self.meeting[some]
        sure = met & placed
        cues = (
            guessed,
            np.where(guessed, meeting, 0.0),
            np.where(sure, meeting, 0.0),
            met,
            self.conflict[some],
        )
        of_groups = member @ np.array(cues, float).reshape(-1, met.shape[1]).T
        guesses, shared, seen, has_met, excluded = query @ of_groups.T.reshape(len(cues), len(some), groups)
        place = np.clip(seen + shared / np.maximum(guesses, 1), -MAX_MEETING_LLR, MAX_MEETING_LLR)
        # The pieces of both that are nearest in time tell of the walk.
        after = self.after
        time = np.full((len(queries), groups), float(NEVER))
        of_a_group = np.flatnonzero(owner >= 0)
        for r, pieces in enumerate(queries):
            block = np.ix_(np.array(pieces, np.intp), of_a_group)
            near = self.gap_s[block].argmin(axis=0), np.arange(len(of_a_group))
            order = np.argsort(self.gap_s[block][near], kind="stable")[::-1]
            time[r, owner[of_a_group[order]]] = after[block][near][order]
        value = looks + np.where(has_met > 0, place - self.new, time)
        impossible = (excluded > 0) | ((has_met == 0) & (time <= NEVER / 2))
        return np.where(impossible, -np.inf, value)

    def are_away(self, owner: NDArray[np.intp], groups: int) -> NDArray[np.bool_]:
        """(R, G) whether a piece would have been away, were it of a group. ``owner``, ``groups`` as in `to_groups`."""
        near = np.zeros((len(self.link), groups), bool)
        rows, of = np.nonzero(~self.away & (owner >= 0))
        near[rows, owner[of]] = True
        return ~near

    def verdict(self, log_odds: F, chosen: int, owner: NDArray[np.intp], groups: int) -> Verdict:
        """How likely it is that a query is of a group's person, beside all others and "somebody new" (odds 1).

        Some groups may be one person of whom it is not known yet; what speaks for such a group speaks for the chosen
        one too, as far as they are alike.

        Args:
            log_odds: (G,) as from `to_groups`.
            chosen: the group.
            owner, groups: as in `to_groups`.
        """
        member, means, pictures = self.pooled(owner, groups)
        alike = self.appearance.llr(means @ means[chosen], pictures, pictures[chosen])
        is_other = member @ self.conflict[owner == chosen].any(axis=0) > 0
        one = np.where(is_other, 0.0, 1 / (1 + self.people * np.exp(-alike)))
        one[chosen] = 1.0
        top = max(float(log_odds.max()), 0.0)
        odds = np.exp(log_odds - top)
        chance = odds / (odds.sum() + np.exp(-top))
        rest = chance * (1 - one)
        second = int(rest.argmax())
        return Verdict(float(one @ chance), second if rest[second] > 0 else None, float(rest[second]))

    def pooled(self, owner: NDArray[np.intp], groups: int) -> tuple[csr_array, F, F]:
        """(G, N) 1 where a group has a piece, (G, D) unit rows and (G,) pictures of the groups."""
        if self._pooled is None or self._pooled[0] is not owner:
            rows = np.argsort(owner, kind="stable")[np.count_nonzero(owner < 0) :]
            ends = np.cumsum(np.bincount(owner[rows], minlength=groups))
            places = rows, np.append(0, ends)
            member = csr_array((np.ones(len(rows)), *places), shape=(groups, len(owner)))
            weight = csr_array((self.pictures[rows], *places), shape=(groups, len(owner)))
            self._pooled = owner, (member, unit(weight @ self.looks), np.asarray(weight.sum(axis=1)))
        return self._pooled[1]

    def between(self, a: Sequence[int], b: Sequence[int]) -> Evidence | None:
        """Why two groups are one person, or how much speaks against it; None for an empty group."""
        if not len(a) or not len(b):
            return None
        score, cues, distance = self._of(list(a), list(b))
        gap = self.gap_s[np.ix_(list(a), list(b))]
        return Evidence(
            probability=float(1 / (1 + np.exp(-np.clip(score, -50, 50)))),
            distance=None if np.isnan(distance) else round(distance, 4),
            gap_s=round(float(gap.min()), 3),
            cues={k: round(float(v), 3) for k, v in cues.items()},
        )

    def _of(self, a: list[int], b: list[int]) -> tuple[float, dict[str, float], float]:
        block = np.ix_(a, b)
        mean_a, n_a = pooled(self.looks[a], self.pictures[a])
        mean_b, n_b = pooled(self.looks[b], self.pictures[b])
        alike = float(unit(mean_a) @ unit(mean_b))
        looks = float(self.appearance.llr(np.array(alike), np.array(n_a), np.array(n_b)))
        distance = 1 - alike if n_a and n_b else float("nan")
        met = self.met[block]
        placed, guessed = met & self.placed[block], met & ~self.placed[block]
        seen = np.where(placed, self.meeting[block], 0.0).sum()
        shared = np.where(guessed, self.meeting[block], 0.0).sum() / max(int(guessed.sum()), 1)
        place = float(np.clip(seen + shared, -MAX_MEETING_LLR, MAX_MEETING_LLR))
        nearest = np.unravel_index(int(self.gap_s[block].argmin()), met.shape)
        time = 0.0 if met.any() else float(self.link[block][nearest])
        new = self.new_away if self.away[block][nearest] and not met.any() else self.new
        cues = {"appearance": looks, "time": max(time, -50.0), "place": place}
        if self.conflict[block].any() or (not met.any() and time <= NEVER / 2):
            return -np.inf, cues, distance
        return looks + place + time - new, cues, distance


def pooled(looks: F, pictures: F) -> tuple[F, float]:
    """Mean embedding of several pieces, (K, D) of (K,) pictures each, and how many pictures it is of."""
    total = float(pictures.sum())
    if total == 0:
        return np.zeros(looks.shape[1]), 0.0
    return np.asarray((pictures[:, None] * looks).sum(axis=0) / total), total


def sights_at_once(a: Piece, b: Piece) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(K,) cells of both pictures in which two pieces were at the same instants, each pair of cells once."""
    none = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if not (a.sights and b.sights):
        return none
    t_a, at_a = np.array(a.sights).T
    t_b, at_b = np.array(b.sights).T
    near = np.clip(np.searchsorted(t_b, t_a), 0, len(t_b) - 1)
    near = np.where((near > 0) & (np.abs(t_b[near - 1] - t_a) < np.abs(t_b[near] - t_a)), near - 1, near)
    at_once = (np.abs(t_b[near] - t_a) <= SIGHT_EVERY_S * 1e9) & (at_a >= 0) & (at_b[near] >= 0)
    pairs = np.unique(at_a[at_once] * PLACES + at_b[near][at_once])
    here, there = np.divmod(pairs, PLACES)
    return here, there


def shares_of_picture(boxes: F, sizes: F) -> F:
    """(N, 2) foot points of boxes (N, 4) in shares of pictures (N, 2); NaN where a picture's size is not known."""
    foot = np.stack(((boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]), axis=1)
    known = (sizes > 0).all(axis=1, keepdims=True)
    return np.where(known, foot / np.where(known, sizes, 1.0), np.nan)


def _share_of_picture(box: NDArray[np.floating], image_size: tuple[int, int]) -> tuple[float, float]:
    w, h = image_size
    if not (w and h):
        return float("nan"), float("nan")
    return float((box[0] + box[2]) / 2 / w), float(box[3] / h)


def group(
    scores: Scores,
    said: Sequence[int],
    threshold: float,
    false_merge_rate: float = 1.0,
    begun: Sequence[Sequence[int]] | None = None,
) -> list[list[int]]:
    """`grouping`, all at once."""
    return done(grouping(scores, said, threshold, false_merge_rate, begun))


def grouping(
    scores: Scores,
    said: Sequence[int],
    threshold: float,
    false_merge_rate: float = 1.0,
    begun: Sequence[Sequence[int]] | None = None,
    *,
    seen_only: bool = True,
) -> Work[list[list[int]]]:
    """Part N pieces into people.

    In rounds: whoever are each other's best are joined, the surest first; then those who have grown are weighed anew,
    so that all rounds together cost little more than the first.

    Args:
        said: (N,) the identity each has now; what was said stays said unless there is better.
        threshold: log-odds from which joining is right.
        false_merge_rate: expected share of wrong ones among all joins, by their own probabilities (Bayesian false
            discovery rate: Newton, Noueiry, Sarkar & Ahlquist, Biostatistics 2004); joins that would exceed it are
            left undone.
        begun: groups that are joined already; None: everybody is alone.
        seen_only: only looks can add to these groups.

    Returns:
        The groups, each a rising list of rows, ordered by their first row.
    """
    nodes = _Nodes(scores)
    yield from nodes.know(scores, said)
    if begun is not None:
        yield from nodes.begin(begun)
        nodes.seen_only = seen_only
    # First those who are well seen, so that no glimpse bridges two people; then glimpses to people; then the rest.
    stage, joins, doubts = 0, 0, 0.0
    while len(said) and stage < 3:
        odds = yield from nodes.odds(threshold)
        while stage < 3:
            pairs = []
            for i, j, value in _mutually_best(odds.where(nodes.may_join(stage, odds)), threshold):
                wrong = 1 / (1 + np.exp(min(value, 50.0)))
                if doubts + wrong > false_merge_rate * (joins + 1 + CREDIT):
                    break
                joins, doubts = joins + 1, doubts + wrong
                pairs.append((i, j))
            yield 5 * len(said) ** 2
            if pairs:
                yield from nodes.joining(*np.array(pairs, np.intp).T)
                break
            stage += 1
    return nodes.groups()


class _Nodes:
    """Groups while they are being joined, each in the row of one of its pieces; what is known of every pair of them."""

    def __init__(self, scores: Scores) -> None:
        n = len(scores)
        self.members: list[list[int]] = [[i] for i in range(n)]
        self.seen_only = False
        self.appearance, self.new = scores.appearance, scores.new
        self.looks, self.pictures = scores.looks.copy(), scores.pictures.copy()
        self.core = scores.core.copy()
        self.gone = np.zeros(n, bool)  # rows that are part of another
        self.changed = np.ones(n, bool)  # rows that `S` does not know yet
        self.link, self.gap = scores.after, scores.gap_s.copy()

    def know(self, scores: Scores, said: Sequence[int]) -> Work[None]:
        """What is known of every pair of pieces."""
        n = len(scores)
        yield 4 * n**2
        self.met = scores.met.astype(float)  # pairs of pieces that met
        self.place = np.where(scores.met & scores.placed, scores.meeting, 0.0)
        yield 4 * n**2
        guessed = scores.met & ~scores.placed
        self.guesses, self.guess = guessed.astype(float), np.where(guessed, scores.meeting, 0.0)
        yield 4 * n**2
        self.conflict, self.forced = scores.conflict.copy(), scores.forced.copy()
        np.fill_diagonal(self.conflict, True)
        self.same_said = np.array(said)[:, None] == np.array(said)[None, :]
        self.S = np.full((n, n), -np.inf)
        yield 4 * n**2

    def groups(self) -> list[list[int]]:
        """The groups, ordered by their first row."""
        return sorted(
            members for members, is_gone in zip(self.members, self.gone, strict=True) if not is_gone
        )

    def begin(self, groups: Sequence[Sequence[int]]) -> Work[None]:
        """Join these rows, while everybody is alone."""
        waiting = [sorted(members) for members in groups]
        while any(len(members) > 1 for members in waiting):
            pairs = [pair for members in waiting for pair in zip(members[::2], members[1::2], strict=False)]
            for start in range(0, len(pairs), PART):
                part = pairs[start : start + PART]
                yield from self.joining(*np.array(part, np.intp).T)
            waiting = [members[::2] for members in waiting]  # the first row stands for both

    def may_join(self, stage: int, odds: Odds) -> NDArray[np.bool_]:
        """(K,) of pairs who may join: of 0 the well seen, of 1 one of whom is, of 2 all."""
        a, b = self.core[odds.a], self.core[odds.b]
        return (a & b, a | b, np.ones(len(a), bool))[stage]

    def odds(self, least: float) -> Work[Odds]:
        """Each join against all that excludes it, as in `competing`."""
        gone = self.changed & self.gone
        self.S[gone] = self.S[:, gone] = -np.inf
        rows, looks = np.flatnonzero(self.changed & ~self.gone), unit(self.looks)
        parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
        for some in parts:
            self.S[some] = self._alone(some, looks)
            yield 16 * len(some) * len(self.S)
        self.S[:, rows] = self.S[rows].T
        self.changed[:] = False
        yield 3 * len(rows) * len(self.S)
        for some in parts:  # which of equals told may differ
            both = np.ix_(some, rows)
            self.S[both] = np.maximum(self.S[both], self.S[np.ix_(rows, some)].T)
            yield 4 * len(some) * len(rows)
        odds = competing(self.S, self.conflict, least)
        yield 3 * len(self.S) ** 2
        return odds

    def _alone(self, rows: NDArray[np.intp], looks: F) -> F:
        """(R, N) log-odds of each join of these rows by itself; (N, D) unit rows of all looks."""
        looks = self.appearance.llr(looks[rows] @ looks.T, self.pictures[rows, None], self.pictures)
        place = self.place[rows] + self.guess[rows] / np.maximum(self.guesses[rows], 1)
        place = np.clip(place, -MAX_MEETING_LLR, MAX_MEETING_LLR)
        S = (
            looks
            + np.where(self.met[rows] > 0, place - self.new, self.link[rows])
            + SAID_LLR * self.same_said[rows]
        )
        S = np.where(self.forced[rows], -NEVER, S)
        barred = self.conflict[rows] | (S <= NEVER / 2) | self.gone[rows, None] | self.gone
        if self.seen_only:
            barred |= ~((self.pictures[rows, None] > 0) & (self.pictures > 0) | self.forced[rows])
        return np.where(barred, -np.inf, S)

    def joining(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> Work[None]:
        """Take groups ``j`` into groups ``i``, pair by pair; nobody is in two pairs."""
        weight = np.maximum(self.pictures[i] + self.pictures[j], 1e-12)[:, None]
        self.looks[i] = (
            self.pictures[i, None] * self.looks[i] + self.pictures[j, None] * self.looks[j]
        ) / weight
        self.pictures[i] += self.pictures[j]
        # Of two groups' pieces those nearest in time tell whether one can go on as the other; glimpses do not count.
        alike = self.core[i] == self.core[j]
        for gap, link in ((self.gap, self.link), (self.gap.T, self.link.T)):  # rows, then columns
            nearer = np.where(alike[:, None], gap[j] < gap[i], self.core[j][:, None])
            gap[i], link[i] = np.where(nearer, gap[j], gap[i]), np.where(nearer, link[j], link[i])
            yield 8 * len(i) * len(gap)
        self.core[i] |= self.core[j]
        for sums in (self.met, self.place, self.guesses, self.guess):
            sums[i] += sums[j]
            sums[:, i] += sums[:, j]
            yield 6 * len(i) * len(sums)
        for flags in (self.conflict, self.forced, self.same_said):
            flags[i] |= flags[j]
            flags[:, i] |= flags[:, j]
        for kept, taken in zip(i.tolist(), j.tolist(), strict=True):
            self.members[kept] = sorted(self.members[kept] + self.members[taken])
        self.gone[j], self.changed[i], self.changed[j] = True, True, True


def _mutually_best(odds: Odds, threshold: float) -> list[tuple[int, int, float]]:
    """Pairs (i < j) of whom each is the other's best and at least half as sure as the surest; the surest first."""
    a, b, value = odds.where(odds.value >= threshold)
    if not len(a):
        return []
    order = np.lexsort((b, -value, a))
    rows, first = np.unique(a[order], return_index=True)
    best, top = b[order][first], value[order][first]
    surest = int(top.argmax())
    of = np.zeros(int(rows[-1]) + 1, np.intp)
    of[rows] = np.arange(len(rows))
    sure = np.flatnonzero((best[of[best]] == rows) & (top >= TOGETHER * top[surest]) & (rows < best))
    pairs = [(int(rows[k]), int(best[k]), float(top[k])) for k in sure]
    # Where many are equally sure there may be no such pair.
    i, j = sorted((int(rows[surest]), int(best[surest])))
    return sorted(pairs or [(i, j, float(top[surest]))], key=lambda pair: (-pair[2], pair[0]))


def refined(groups: Sequence[Sequence[int]], scores: Scores) -> list[list[int]]:
    """`refining`, all at once."""
    return done(refining(groups, scores))


def refining(groups: Sequence[Sequence[int]], scores: Scores) -> Work[list[list[int]]]:
    """Groups after moves of single pieces, and swaps of two that exclude each other, by where people stood at once.

    Who is joined first may be wrong where people walk side by side; what all looks together say is right more often
    (local search for correlation clustering: Elsner & Schudy, ILP for NLP 2009). Each change raises the sum of the
    places' log-odds within groups by more than ``LEAST_GAIN``.
    """
    n = len(scores)
    weight = np.where(scores.met & scores.placed, scores.meeting, 0.0)
    if not weight.any():
        return [list(members) for members in groups]
    rows, owner = np.arange(n), np.zeros(n, np.intp)
    for g, members in enumerate(groups):
        owner[list(members)] = g
    yield 3 * n * n
    conflict = scores.conflict.astype(float)
    member = (owner[:, None] == np.arange(len(groups))).astype(float)
    gain = weight @ member
    yield 5 * n * n
    barred = conflict @ member
    yield 5 * n * n
    free = np.asarray(~scores.forced.any(axis=1) & weight.any(axis=1), bool)
    pairs = np.argwhere(np.triu(scores.conflict, 1) & free[:, None] & free)
    yield 2 * n * n
    for _ in range(n):
        better = gain - gain[rows, owner][:, None]
        better[rows, owner] = -np.inf
        alone = np.where(free[:, None] & (barred == 0), better, -np.inf)
        p, b = (int(v) for v in np.unravel_index(int(np.argmax(alone)), alone.shape))
        changes, best = [(p, b)], float(alone[p, b])
        if len(pairs):
            i, j = pairs.T  # two of one camera, each in the other's place
            swap = better[i, owner[j]] + better[j, owner[i]] - 2 * weight[i, j]
            swap[(barred[i, owner[j]] != 1) | (barred[j, owner[i]] != 1)] = -np.inf
            k = int(np.argmax(swap))
            if swap[k] > best:
                best = float(swap[k])
                changes = [(int(i[k]), int(owner[j[k]])), (int(j[k]), int(owner[i[k]]))]
        if not best > LEAST_GAIN:
            break
        yield 8 * alone.size
        for row, to in changes:
            for sums, of in ((gain, weight), (barred, conflict)):
                sums[:, owner[row]] -= of[:, row]
                sums[:, to] += of[:, row]
            owner[row] = to
    found = [np.flatnonzero(owner == g).tolist() for g in range(len(groups))]
    return [members for members in found if members]


def continued(groups: Sequence[Sequence[int]], scores: Scores, threshold: float) -> list[list[int]]:
    """`continuing`, all at once."""
    return done(continuing(groups, scores, threshold))


def continuing(groups: Sequence[Sequence[int]], scores: Scores, threshold: float) -> Work[list[list[int]]]:
    """Groups joined with those that go on where they were heading on the floor, all at once; ordered by first row.

    Args:
        threshold: log-odds from which joining is right.
    """
    walks, count = scores.walks, len(groups)
    if walks is None or not len(walks.piece) or count < 2:
        return sorted(list(members) for members in groups)
    begins, ends = yield from ending(walks, groups)
    walk = np.empty((count, count))
    for start in range(0, count, SOME):
        some = slice(start, start + SOME)
        walk[some] = onward_llr(ends.at(some), begins, scores.longest_s)
        yield 80 * walk[some].size
    value = np.full(walk.shape, -np.inf)
    walk -= crowding_llr(begins, scores.longest_s)
    yield 10 * count * count
    owner = np.full(len(scores), -1)
    for g, members in enumerate(groups):
        owner[list(members)] = g
    member, means, pictures = scores.pooled(owner, count)
    looks = scores.appearance.llr(means @ means.T, pictures[:, None], pictures)
    impossible = member @ (member @ (scores.conflict | scores.met).astype(float)).T > 0
    likely = (walk > threshold - MOST_BESIDES) & ~impossible
    yield 20 * count * count
    nearest = yield from _nearest(scores.onward, scores.gap_s, groups)
    value[likely] = (walk + looks + nearest - threshold)[likely]
    yield 10 * count * count
    after = followed(value)
    yield 10 * count * count
    joined = [list(members) for members in groups]
    for a in np.argsort(-begins.t_s, kind="stable").tolist():  # from the last on, so that chains add up
        if after[a] >= 0:
            joined[a] += joined[after[a]]
            joined[after[a]] = []
    return sorted(sorted(members) for members in joined if members)


def _nearest(values: F, gap_s: F, groups: Sequence[Sequence[int]]) -> Work[F]:
    """(G, G) of values (N, N) those of the two pieces of two groups that are nearest in time."""
    by_size: dict[int, list[int]] = {}
    for g, members in enumerate(groups):
        by_size.setdefault(len(members), []).append(g)
    for _ in range(2):  # rows, then columns
        value, gap = (np.empty((len(groups), values.shape[1])) for _ in range(2))
        parts = (of[n : n + PART] for of in by_size.values() for n in range(0, len(of), PART))
        for some in parts:
            rows = np.array([groups[g] for g in some])
            at = gap_s[rows].argmin(axis=1)[:, None]
            value[some], gap[some] = (np.take_along_axis(m[rows], at, axis=1)[:, 0] for m in (values, gap_s))
            yield 6 * rows.size * values.shape[1]
        values, gap_s = value.T, gap.T
    return values


def one_to_one(i: NDArray[np.intp], j: NDArray[np.intp], value: F) -> F:
    """(K,) log-odds of pairs against all others of their row, of their column, and against nobody."""
    odds = np.exp(value)
    row, column = (np.bincount(of, odds)[of] - odds for of in (i, j))
    return np.asarray(value - np.log(1 + np.maximum(row, 0.0) + np.maximum(column, 0.0)))


class Odds(NamedTuple):
    """K pairs that may be joined, each in both directions."""

    a: NDArray[np.intp]
    b: NDArray[np.intp]
    value: F  # log-odds

    def where(self, keep: NDArray[np.bool_]) -> Odds:
        """Some of them."""
        return Odds(self.a[keep], self.b[keep], self.value[keep])


def competing(S: F, conflict: NDArray[np.bool_], least: float = -np.inf) -> Odds:
    """Log-odds of each join against everything that excludes it, and against "new person" (odds 1).

    Joining a with b excludes joining a with c where b and c cannot be one. Only of joins whose own log-odds ``S``
    (G, G), the same in both directions, are finite and not below ``least``: rivals only take away.
    """
    a, b = np.divmod(np.flatnonzero(np.isfinite(S) & (least <= S)), max(len(S), 1))
    rows = np.unique(a)
    of = np.zeros(len(S), np.intp)
    of[rows] = np.arange(len(rows))
    some = S[rows]
    most = some.max(axis=1, initial=-np.inf)  # odds are kept as shares of each row's largest
    i, j = of[a], of[b]
    if FEW * len(a) < len(rows) * len(S):
        pair, rival = np.nonzero(conflict[b])
        odds = np.where(rival == b[pair], 0.0, np.exp(S[a[pair], rival] - most[i[pair]]))
        against = np.bincount(pair, odds, len(a))
        # The same pair the other way round stands where (b, a) is.
        other = np.searchsorted(a * len(S) + b, b * len(S) + a)
        here, there = against, against[other]
    else:
        excluded = conflict.astype(float)
        np.fill_diagonal(excluded, 0.0)
        every = np.exp(some - most[:, None]) @ excluded
        here, there = every[i, b], every[j, a]
    with np.errstate(divide="ignore"):
        here, there = np.log(here) + most[i], np.log(there) + most[j]
    return Odds(a, b, S[a, b] - np.logaddexp(np.logaddexp(here, there), 0.0))


def _sighting(
    key: TrackKey, t_ns: int, box: NDArray[np.floating], place: tuple[float, float] | None
) -> Sighting:
    x1, y1, x2, y2 = (round(float(v), 1) for v in box)
    floor = None if place is None else (round(place[0], 3), round(place[1], 3))
    return Sighting(camera_id=key.camera_id, t_ns=t_ns, box=(x1, y1, x2, y2), floor_xy_m=floor)
