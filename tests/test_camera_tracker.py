"""One camera's tracker on made-up walks: who keeps their id, who starts one, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.scenes import SIZE, at, blurred, look, person_box, seen
from tracker.config import TrackSettings
from tracker.core.boxes import FloorPlan
from tracker.core.camera_tracker import CameraTracker, clearly_best, picture_quality
from tracker.core.doubt import MOST_DOUBTS
from tracker.types import CARRIED, CONFIRMED, LOST, NO_DETECTION, TENTATIVE, Detections, Tracklet, Tracks

FPS = 10


class Watched:
    """A tracker and all that it has told."""

    def __init__(self, plan: FloorPlan | None = None, model_hash: str = "m", **settings: float) -> None:
        self.tracker = CameraTracker(
            "a", TrackSettings(**settings), image_size=SIZE, model_hash=model_hash, plan=plan
        )
        self.frames: list[Tracks] = []
        self.tracklets: list[Tracklet] = []
        self.t_s = 0.0

    def step(
        self,
        detections: Detections | None,
        dt_s: float = 1 / FPS,
        flow: NDArray | None = None,
        trust: NDArray | None = None,
    ) -> Tracks:
        tracks, changed = self.tracker.step(at(self.t_s), detections, flow, trust)
        self.t_s += dt_s
        self.frames.append(tracks)
        self.tracklets += changed
        return tracks

    def run(self, frames: Iterable[Detections | None]) -> Watched:
        for detections in frames:
            self.step(detections)
        return self

    def finish(self) -> list[Tracklet]:
        self.tracklets += self.tracker.finish(at(self.t_s))
        return self.tracklets

    def ids(self) -> list[int]:
        """Every id that was ever confirmed, in the order of coming."""
        found = [int(i) for t in self.frames for i in t.ids[t.states == CONFIRMED]]
        return list(dict.fromkeys(found))

    def id_at(self, box: NDArray, frame: int = -1) -> int:
        """The id of the track that was seen on this box."""
        tracks = self.frames[frame]
        here = np.flatnonzero(
            (np.abs(tracks.boxes - box).max(axis=1) < 1) & (tracks.detections != NO_DETECTION)
        )
        assert len(here) == 1
        return int(tracks.ids[here[0]])


def walk(
    x: Callable[[float], float],
    person: int | None = 0,
    frames: int = 30,
    rng: np.random.Generator | None = None,
) -> list[Detections]:
    """One person at x(t), embedded in every frame (None: never)."""
    rng = rng or np.random.default_rng(0)
    out = []
    for n in range(frames):
        rows = None if person is None else [blurred(look(person), rng)]
        out.append(seen([person_box(x(n / FPS))], rows))
    return out


# ---- keeping an id -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", [0, None])
def test_one_walk_is_one_track(person):
    watched = Watched().run(walk(lambda t: 100 + 200 * t, person))
    assert watched.ids() == [1]
    # Seen over confirm_s = 0.2 s before it is told: frames 0 and 1 are tentative, frame 2 is not.
    assert [int(t.states[0]) for t in watched.frames[:4]] == [TENTATIVE, TENTATIVE, CONFIRMED, CONFIRMED]
    np.testing.assert_array_equal(watched.frames[-1].boxes[0], person_box(100 + 200 * 2.9))


@pytest.mark.parametrize("fps", [5, 10, 30])
def test_seconds_count_not_frames(fps):
    """Confirmed after 0.2 s and ended after lost_s = 3 s, whatever the frame rate."""
    watched = Watched()
    for _ in range(fps + 1):
        watched.step(seen([person_box(300)]), 1 / fps)
    confirmed = [n / fps for n, t in enumerate(watched.frames) if (t.states == CONFIRMED).any()]
    assert confirmed[0] == pytest.approx(0.2, abs=1e-6)
    while len(watched.step(Detections.none(), 1 / fps)):
        pass
    # Last seen at 1 s; the first frame more than 3 s later is the one without it.
    assert watched.t_s - 1 / fps == pytest.approx(1 + 3, abs=1.01 / fps)


def crossing(kinds: tuple[int, int] | None) -> Watched:
    """Two people pass each other in the middle of the picture; nearer than a box width they hide each other."""
    rng = np.random.default_rng(1)
    watched = Watched()
    for n in range(40):
        right, left = person_box(200 + 150 * n / FPS, 400), person_box(800 - 150 * n / FPS, 410)
        hidden = abs(right[0] - left[0]) < 50
        boxes = [left] if hidden else [right, left]
        rows = None
        if kinds is not None:
            rows = [blurred(look(k), rng) for k in ((kinds[1],) if hidden else kinds)]
        watched.step(seen(boxes, rows))
    return watched


def test_two_who_look_different_keep_their_ids_when_they_cross():
    watched = crossing((0, 1))
    assert watched.ids() == [1, 2]
    first = {
        k: watched.id_at(box, 5) for k, box in (("r", person_box(275, 400)), ("l", person_box(725, 410)))
    }
    last = {
        k: watched.id_at(box, 39)
        for k, box in (("r", person_box(200 + 150 * 3.9, 400)), ("l", person_box(800 - 150 * 3.9, 410)))
    }
    assert first == last


def test_looks_decide_between_two_places_that_are_as_good():
    """Two people nearly swap places between two frames; place alone would take each for the other."""
    rng = np.random.default_rng(2)
    a, b = person_box(400), person_box(460)
    watched = Watched(duplicate_iou=0.95, duplicate_cover=1.5)
    for _ in range(10):
        watched.step(seen([a, b], [blurred(look(0), rng), blurred(look(1), rng)]))
    before = (watched.id_at(a), watched.id_at(b))
    # From 400 and 460 to 435 and 425: by overlap 425 is 400's and 435 is 460's.
    middle = person_box(425), person_box(435)
    watched.step(seen(middle, [blurred(look(1), rng), blurred(look(0), rng)]))
    assert (watched.id_at(middle[1]), watched.id_at(middle[0])) == before


def test_who_was_lost_is_revived_by_looks_without_any_overlap():
    rng = np.random.default_rng(3)
    watched = Watched().run(walk(lambda t: 200.0, 0, 20, rng))
    watched.run([Detections.none()] * 12)
    # 1.2 s later, 300 px to the right: 1.5 of their own heights away.
    watched.run(walk(lambda t: 500.0, 0, 5, rng))
    assert watched.ids() == [1]
    assert watched.frames[-1].states.tolist() == [CONFIRMED]


def test_who_was_revived_goes_on_from_the_new_place():
    rng = np.random.default_rng(3)
    watched = Watched().run(walk(lambda t: 200.0, 0, 20, rng))
    watched.run([Detections.none()] * 12)
    watched.run(walk(lambda t: 500.0, 0, 1, rng))
    watched.run(walk(lambda t: 505 + 50 * t, None, 10))  # no looks any more: place alone
    assert watched.ids() == [1] and len(watched.frames[-1]) == 1


def test_somebody_else_does_not_revive_the_lost():
    rng = np.random.default_rng(3)
    watched = Watched().run(walk(lambda t: 200.0, 0, 20, rng))
    watched.run([Detections.none()] * 12)
    watched.run(walk(lambda t: 500.0, 1, 5, rng))
    assert watched.ids() == [1, 2]


@pytest.mark.parametrize(("person", "ids"), [(None, [1]), (0, [1]), (1, [1, 2])])
def test_even_a_poor_picture_says_who_does_not_stand_where_somebody_was(person: int | None, ids: list[int]):
    """It used to prove nothing: who was lost half a second before went on as whoever walked by."""

    def stands(person: int | None, frames: int) -> list[Detections]:
        # 28 px high: a picture of quality 0.9 ** 0.5 * 28 / 96 = 0.28, which is not a clear one.
        rows = None if person is None else [look(person)]
        return [seen([person_box(300, height=28)], rows)] * frames

    watched = Watched().run([*stands(0, 20), *[Detections.none()] * 5])
    # After 0.6 s: longer than it coasts, not yet longer than place alone tells.
    watched.run(stands(person, 5))
    assert watched.ids() == ids


def test_nobody_is_revived_further_away_than_people_walk():
    rng = np.random.default_rng(3)
    watched = Watched().run(walk(lambda t: 60.0, 0, 20, rng))
    watched.run([Detections.none()] * 7)
    watched.run(walk(lambda t: 950.0, 0, 5, rng))  # 890 px = 4.5 heights in 0.8 s
    assert watched.ids() == [1, 2]


def test_short_holes_are_bridged_without_any_looks():
    frames: list[Detections] = walk(lambda t: 100 + 150 * t, None, 40)
    frames[20:23] = [Detections.none()] * 3
    watched = Watched().run(frames)
    assert watched.ids() == [1]
    assert [int(watched.frames[n].states[0]) for n in (19, 20, 22, 23)] == [CONFIRMED, LOST, LOST, CONFIRMED]
    # While unseen it is carried on: near where the person would have been.
    assert watched.frames[22].boxes[0, 0] == pytest.approx(person_box(100 + 150 * 2.2)[0], abs=12)


# ---- starting a track ----------------------------------------------------------------------------------------


def test_doubtful_boxes_keep_a_track_but_never_start_one():
    weak = [seen([person_box(300 + 10 * n)], None, 0.3) for n in range(20)]
    assert Watched().run(weak).ids() == []
    assert all(len(t) == 0 for t in Watched().run(weak).frames)
    kept = Watched().run(walk(lambda t: 300.0, None, 10)).run([seen([person_box(300)], None, 0.3)] * 6)
    assert kept.ids() == [1]
    assert [t.states.tolist() for t in kept.frames[-6:]] == [[CONFIRMED]] * 6


def test_it_takes_a_surer_box_to_start_a_track_than_to_keep_one():
    """From 0.6 a box is sure; from a quarter of the way to 1, which is 0.7, it starts a track."""
    assert Watched().run([seen([person_box(300)], None, 0.65)] * 20).ids() == []
    assert Watched().run([seen([person_box(300)], None, 0.75)] * 20).ids() == [1]
    assert Watched(start_score=0.62).run([seen([person_box(300)], None, 0.65)] * 20).ids() == [1]
    assert Watched(sure_score=0.3).run([seen([person_box(300)], None, 0.5)] * 20).ids() == [1]


def test_one_frame_makes_no_person():
    watched = Watched().run([seen([person_box(300)]), *[Detections.none()] * 10])
    assert watched.ids() == [] and watched.finish() == []
    assert len(watched.frames[1]) == 0  # a tentative track ends at its first miss


@pytest.mark.parametrize(
    "other",
    [
        person_box(310, 405),  # a second box a little beside
        np.array([265, 200, 335, 300], np.float32),  # the upper half of the same body
        person_box(300),  # the very same
    ],
)
def test_a_second_box_on_somebody_starts_no_second_track(other):
    watched = Watched().run([seen([person_box(300), other], None, [0.9, 0.8])] * 15)
    assert watched.ids() == [1]
    assert watched.id_at(person_box(300)) == 1  # the surer box is the one that stays


def test_two_people_side_by_side_are_two():
    watched = Watched().run([seen([person_box(300), person_box(360)])] * 10)
    assert watched.ids() == [1, 2]


# ---- the detector rests --------------------------------------------------------------------------------------


def test_a_resting_detector_ages_no_track():
    """None says nothing was looked for; an empty answer says nobody is here."""
    frames = walk(lambda t: 200 + 100 * t, None, 40)
    rested = Watched().run([d if n % 2 == 0 else None for n, d in enumerate(frames)])
    assert rested.ids() == [1]
    # Tentative tracks too: the second frame brings no detection, yet the track is still there.
    assert len(rested.frames[1]) == 1 and rested.frames[1].detections.tolist() == [CARRIED]
    long = Watched(lost_s=1.0).run([*frames[:20], *[None] * 30])
    assert len(long.frames[-1]) == 1
    empty = Watched(lost_s=1.0).run([*frames[:20], *[Detections.none()] * 30])
    assert len(empty.frames[-1]) == 0


def rested(flow: NDArray | None, trust: NDArray | None = None) -> Watched:
    """Two people who have stood still for 2 s; then one frame in which only flow says where they are."""
    watched = Watched().run([seen([person_box(300), person_box(600)])] * 20)
    watched.step(None, flow=flow, trust=trust)
    return watched


STOOD = np.stack([person_box(300), person_box(600)])
WENT = STOOD + np.float32([20, 0, 20, 0])


def test_between_keyframes_flow_moves_everybody_who_was_there():
    tracks = rested(WENT).frames[-1]
    assert tracks.states.tolist() == [CONFIRMED, CONFIRMED] and tracks.detections.tolist() == [CARRIED] * 2
    # Old error and flow's own weigh as r = p + (0.03 of 200 px)^2 against p: less than half of 20 px, in one step.
    step = tracks.boxes - STOOD
    assert (step[:, 0] > 4).all() and (step[:, 0] < 10).all()
    np.testing.assert_allclose(step[:, 2], step[:, 0], atol=1e-3)  # no box grows
    np.testing.assert_allclose(step[:, [1, 3]], 0, atol=1e-3)


def test_flow_that_goes_on_is_followed_all_the_way():
    watched = rested(None)
    for n in range(1, 16):
        flow = watched.tracker.boxes() + np.array(
            [6, 0, 6, 0]
        )  # 6 px a frame from where they are thought to be
        tracks = watched.step(None, flow=flow)
        if n == 1:
            assert tracks.boxes[0, 0] - STOOD[0, 0] > 1
    # By now the filter has learned the speed of 60 px/s: a step of the box is a step of the flow.
    last = watched.frames[-1].boxes - watched.frames[-2].boxes
    np.testing.assert_allclose(last[:, 0], 6, atol=0.3)


def test_the_less_flow_is_trusted_the_less_it_moves():
    moved = [
        (rested(WENT, np.full(2, trust, np.float32)).frames[-1].boxes - STOOD)[:, 0]
        for trust in (1.0, 0.5, 0.2, 0.05, 0.001)
    ]
    assert (np.diff(moved, axis=0) < 0).all()
    np.testing.assert_array_equal(moved[0], (rested(WENT).frames[-1].boxes - STOOD)[:, 0])
    assert moved[-1].max() < 0.01  # nearly nothing of 20 px


@pytest.mark.parametrize(
    ("flow", "trust"),
    [
        (np.full((2, 4), np.nan, np.float32), None),
        (WENT, np.zeros(2, np.float32)),
        (WENT, np.full(2, np.nan, np.float32)),
        (np.where([[0, 0, 1, 0]], np.nan, WENT).astype(np.float32), np.ones(2, np.float32)),
        (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)),  # of tracks that are no more
    ],
    ids=["NaN rows", "no trust", "NaN trust", "one NaN", "other tracks"],
)
def test_flow_that_says_nothing_leaves_everybody_to_prediction(flow, trust):
    one, other = rested(flow, trust), rested(None)
    np.testing.assert_array_equal(one.frames[-1].boxes, other.frames[-1].boxes)
    assert one.frames[-1].detections.tolist() == [CARRIED] * 2


def test_a_row_that_says_nothing_does_not_silence_the_others():
    flow = WENT.copy()
    flow[0] = np.nan
    tracks = rested(flow).frames[-1]
    np.testing.assert_array_equal(tracks.boxes[0], rested(None).frames[-1].boxes[0])
    np.testing.assert_array_equal(tracks.boxes[1], rested(WENT).frames[-1].boxes[1])


def test_flow_of_nobody():
    watched = Watched()
    tracks = watched.step(None, flow=np.zeros((0, 4), np.float32), trust=np.zeros(0, np.float32))
    assert len(tracks) == 0 and watched.finish() == []


@pytest.mark.parametrize(("trust", "is_held"), [(None, True), (1.0, True), (0.1, False), (0.0, False)])
def test_who_is_carried_by_trusted_flow_counts_as_seen_a_moment_ago(trust, is_held):
    """3 s without a look, then two that miss: whom flow has held is still near, the other one was lost long ago."""
    watched = Watched().run(walk(lambda t: 300.0, None, 10))
    here = person_box(300)[None]
    for _ in range(30):
        watched.step(None, flow=here, trust=None if trust is None else np.full(1, trust, np.float32))
    watched.run([Detections.none()] * 2)
    # Unseen for 0.2 s, or for 3.1 s; coast_s is 0.5.
    assert watched.tracker.outlook().has_missed == is_held


@pytest.mark.parametrize("is_held", [True, False])
def test_one_missed_look_ends_nobody_however_rare_looks_are(is_held):
    """Looks 4 s apart: lost_s = 3 s was over when the first one missed, and whoever was hidden then came back anew."""
    watched, rng = Watched().run(walk(lambda t: 300.0, 0, 10)), np.random.default_rng(4)
    here = person_box(300)[None] if is_held else None
    for found in (Detections.none(), seen([person_box(300)], [blurred(look(0), rng)])):
        for _ in range(39):
            watched.step(None, flow=here)
        watched.step(found)
    assert watched.ids() == [1] and watched.frames[-1].states.tolist() == [CONFIRMED]
    # Nobody is kept for good: after 3 s of looks that find nobody the track has ended.
    watched.run([Detections.none()] * 31)
    assert len(watched.frames[-1]) == 0


def test_who_walks_out_of_the_picture_between_keyframes_is_not_told():
    watched = Watched().run(walk(lambda t: 900 + 60 * t, None, 15))  # at 984 px of 1000, 60 px/s
    for _ in range(6):
        tracks = watched.step(None, flow=watched.tracker.boxes() + np.array([6, 0, 6, 0]))
    assert tracks.states.tolist() == [LOST] and tracks.detections.tolist() == [NO_DETECTION]


def test_nobody_is_taken_for_who_stood_there_before_the_camera_was_away():
    """A minute without frames used to count as a minute between two looks: place alone then joined two people."""
    rng = np.random.default_rng(0)
    watched = Watched()
    for n in range(20):  # at 10 frames a second, then once after 60 s: 600 times the pause before
        watched.step(seen([person_box(300)], [blurred(look(0), rng)]), 60.0 if n == 19 else 1 / FPS)
    watched.step(seen([person_box(300)], [blurred(look(1), rng)]))
    assert watched.id_at(person_box(300)) == 2


def test_who_stands_still_before_a_camera_of_few_frames_keeps_the_id():
    """A frame every 5 s is a rare look and no camera that was away: a look that misses ends nobody."""
    rng = np.random.default_rng(0)
    watched = Watched()
    for n in range(8):
        is_missed = n == 5
        boxes, rows = ([], None) if is_missed else ([person_box(300)], [blurred(look(0), rng)])
        watched.step(seen(boxes, rows) if boxes else Detections.none(), 5.0)
    assert watched.ids() == [1]


# ---- the outlook ---------------------------------------------------------------------------------------------


def test_the_outlook_tells_of_the_new_the_missed_and_the_crowded():
    def outlook(frames: list[Detections | None]) -> tuple[bool, bool, bool]:
        found = Watched().run(frames).tracker.outlook()
        return found.has_new, found.has_missed, found.is_crowded

    one, two = seen([person_box(300)]), seen([person_box(300), person_box(340)])
    assert outlook([]) == outlook([Detections.none()]) == (False, False, False)
    assert outlook([one]) == (True, False, False)
    assert outlook([one] * 5) == outlook([*[one] * 5, None]) == (False, False, False)
    assert outlook([*[one] * 5, Detections.none()]) == (False, True, False)
    # Missed for longer than it coasts (0.5 s): lost, and no reason to look sooner.
    assert outlook([*[one] * 5, *[Detections.none()] * 8]) == (False, False, False)
    assert outlook([two] * 5) == (False, False, True)  # 40 of 120 px are shared


def test_a_box_grows_less_certain_until_it_is_looked_at_and_less_so_with_flow():
    here = person_box(300)[None]
    spreads = {}
    for name, flow in (("flow", here), ("prediction", None)):
        watched = Watched().run(walk(lambda t: 300.0, None, 20))
        found = [watched.tracker.outlook().spread]
        for _ in range(5):
            watched.step(None, flow=flow)
            found.append(watched.tracker.outlook().spread)
        assert (np.diff(found) > 0).all() or name == "flow"
        spreads[name] = found[-1]
        watched.step(seen([person_box(300)]))
        assert watched.tracker.outlook().spread < found[-1]
    assert spreads["flow"] < spreads["prediction"]


# ---- trackers share nothing, and laws ------------------------------------------------------------------------


def busy(seed: int, frames: int = 40) -> list[Detections]:
    """Four people to and fro, boxes with noise and holes."""
    rng = np.random.default_rng(seed)
    starts, speeds = rng.uniform(100, 900, 4), rng.uniform(-150, 150, 4)
    feet = np.array([260.0, 330, 420, 520])
    out = []
    for n in range(frames):
        here = [k for k in range(4) if rng.uniform() > 0.15]
        boxes = [
            person_box(starts[k] + speeds[k] * n / FPS, feet[k], 120 + 20 * k) + rng.normal(0, 1, 4)
            for k in here
        ]
        rows = [blurred(look(k), rng) for k in here]
        out.append(seen(boxes, rows, [float(rng.uniform(0.4, 1)) for _ in here]))
    return out


def same_tracks(a: Sequence[Tracks], b: Sequence[Tracks], shift: float = 0.0, atol: float = 0.0) -> None:
    for p, q in zip(a, b, strict=True):
        assert p.ids.tolist() == q.ids.tolist()
        assert p.states.tolist() == q.states.tolist()
        assert p.detections.tolist() == q.detections.tolist()
        np.testing.assert_allclose(p.boxes + shift, q.boxes, atol=atol)


def test_two_trackers_in_one_process_share_nothing():
    alone = Watched().run(busy(1)).frames
    a, b = Watched(), Watched()
    for one, two in zip(busy(1), busy(2), strict=True):
        a.step(one)
        b.step(two)
    same_tracks(a.frames, alone)
    same_tracks(b.frames, Watched().run(busy(2)).frames)
    assert min(b.ids()) == 1


def test_shifting_all_boxes_shifts_all_tracks():
    frames = busy(4)
    shifted = [
        Detections(
            boxes=d.boxes + np.float32(64), scores=d.scores, classes=d.classes, embedded=d.embedded,
            embeddings=d.embeddings,
        )
        for d in frames
    ]  # fmt: skip
    a, b = Watched(), Watched()
    a.tracker.image_size = b.tracker.image_size = (0, 0)  # no picture's edge to be cut at
    same_tracks(a.run(frames).frames, b.run(shifted).frames, 64.0, atol=1e-2)


def test_the_order_of_a_frames_detections_does_not_matter():
    rng = np.random.default_rng(5)
    plain, mixed = Watched(), Watched()
    for detections in busy(6):
        order = rng.permutation(len(detections))
        a, b = plain.step(detections), mixed.step(detections.where(order))
        by_box = {tuple(box): state for box, state in zip(b.boxes.tolist(), b.states.tolist(), strict=True)}
        for box, state, row in zip(a.boxes.tolist(), a.states.tolist(), a.detections.tolist(), strict=True):
            if row != NO_DETECTION:
                assert by_box[tuple(box)] == state


def test_ten_and_thirty_frames_a_second_tell_the_same_story():
    """The same two people over the same 6 s: seen, hidden for a second behind a pillar, seen again."""
    spans = []
    for fps in (10, 30):
        watched, rng = Watched(), np.random.default_rng(1)
        for n in range(6 * fps):
            t = n / fps
            here = [(0, 100 + 80 * t, 400.0), (1, 800 - 60 * t, 450.0)]
            here = [p for p in here if not 380 < p[1] < 430 or p[0] == 1]
            watched.step(
                seen(
                    [person_box(x, foot) for _, x, foot in here], [blurred(look(k), rng) for k, _, _ in here]
                ),
                1 / fps,
            )
        spans.append({t.key.number: (t.t_first_ns, t.t_last_ns) for t in watched.finish() if t.ended})
    assert list(spans[0]) == list(spans[1]) == [1, 2]
    for number in (1, 2):
        np.testing.assert_allclose(spans[0][number], spans[1][number], atol=0.1e9)


# ---- going over to somebody else -----------------------------------------------------------------------------


def test_a_track_that_goes_over_to_somebody_else_is_cut():
    rng = np.random.default_rng(7)
    frames = [*walk(lambda t: 300.0, 0, 20, rng), *walk(lambda t: 300.0, 1, 20, rng)]
    watched = Watched().run(frames)
    assert watched.ids() == [1, 2]
    last = {t.key.number: t for t in watched.finish()}
    # The second person is there from frame 20 on. Three pictures later that is sure, and the new tracklet begins; the
    # two never share an instant, so that the linker may still find that they are one. Neither has the other's looks.
    assert last[1].t_last_ns <= at(2.0) < last[2].t_first_ns <= at(2.3)
    for number, person in ((1, 0), (2, 1)):
        for row in last[number].prototypes.astype(np.float32):
            assert row @ look(person) > 0.8 and abs(row @ look(1 - person)) < 0.3


def somebody_like(
    rng: np.random.Generator, frames: int = 20, cosine: float = 0.68, sigma: float = 0.02
) -> list[Detections]:
    """Another person who looks like person 0 up to a cosine.

    At .68 they are at .32, .7 of the way from one's own .09 to a stranger's .42.
    """
    row = cosine * look(0) + np.sqrt(1 - cosine**2) * look(1)
    return [seen([person_box(300.0)], [blurred(row, rng, sigma)]) for _ in range(frames)]


@pytest.mark.parametrize(
    ("fps", "gap", "numbers"), [(10, 0, [1]), (10, 4, [1, 2]), (2, 0, [1]), (2, 1, [1, 2])]
)
def test_who_comes_back_need_look_less_strange_to_be_somebody_else(fps, gap, numbers):
    """After 20 pictures, three of quality .95 count as .7 x 20 / 22 x 2.85 / 3.35 = .54, and five as .58: more than .5,
    which is enough after a gap, and less than .6. Whoever was in sight all the time has only turned; what is all the
    time depends on how often the camera looks."""
    rng = np.random.default_rng(7)
    watched = Watched()
    for frame in [*walk(lambda t: 300.0, 0, 20, rng), *[seen([])] * gap, *somebody_like(rng)]:
        watched.step(frame, 1 / fps)
    assert watched.ids() == numbers


def test_who_stands_beside_their_own_second_box_is_not_beside_others():
    rng = np.random.default_rng(7)
    twice = [
        seen([person_box(300.0), person_box(303.0)], [blurred(look(0), rng)] * 2, [0.9, 0.8])
        for _ in range(20)
    ]
    watched = Watched().run([*twice, *somebody_like(rng)])
    assert watched.ids() == [1]


@pytest.mark.parametrize("known", [3, 4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_who_is_known_from_a_few_pictures_is_not_taken_over_by_a_stranger(known, seed):
    """At cosine .56 the stranger is no further off than most; three to six pictures make the track's look."""
    rng = np.random.default_rng(seed)
    watched = Watched().run([*walk(lambda t: 300.0, 0, known, rng), *somebody_like(rng, 12, 0.56, 0.05)])
    assert watched.ids() == [1, 2]


@pytest.mark.parametrize(("fps", "missed", "cosine"), [(10, 3, 0.68), (10, 3, 0.3), (2, 1, 0.68)])
def test_a_stranger_who_is_seen_now_and_then_is_a_stranger(cosine, fps, missed):
    """No two of their pictures come without a gap between."""
    rng = np.random.default_rng(7)
    watched = Watched()
    flicker = [frame for one in somebody_like(rng, 30, cosine) for frame in [*[seen([])] * missed, one]]
    for frame in [*walk(lambda t: 300.0, 0, 20, rng), *flicker]:
        watched.step(frame, 1 / fps)
    assert len(watched.ids()) == 2
    for row in next(t for t in watched.finish() if t.key.number == 1 and t.ended).prototypes:
        assert row.astype(np.float32) @ look(1) < 0.3


@pytest.mark.parametrize("every_s", [0.1, 6.0, 20.0])
def test_however_rarely_a_camera_looks_a_stranger_is_told(every_s):
    rng = np.random.default_rng(7)
    watched = Watched()
    for frame in [*walk(lambda t: 300.0, 0, 20, rng), *walk(lambda t: 300.0, 1, 20, rng)]:
        watched.step(frame, every_s)
    assert watched.ids() == [1, 2]


@pytest.mark.parametrize(
    "between",
    [
        [(seen([]), 0.1)] * 4,
        [(seen([]), 0.1)] * 4 + [(None, 0.1)] * 9,  # then the detector rests
        [(None, 0.7)],  # the stream stood still
    ],
)
def test_out_of_sight_is_out_of_sight_however_the_camera_goes_on(between):
    rng = np.random.default_rng(7)
    watched = Watched().run(walk(lambda t: 300.0, 0, 20, rng))
    for frame, dt_s in between:
        watched.t_s += dt_s - 1 / FPS
        watched.step(frame)
    watched.run(somebody_like(rng))
    assert watched.ids() == [1, 2]


def test_carried_by_flow_is_not_out_of_sight():
    """The detector rests for half a second between looks, and flow holds who stands there: they have only turned."""
    rng = np.random.default_rng(7)
    watched = Watched()
    for frame in [*walk(lambda t: 300.0, 0, 20, rng), *somebody_like(rng)]:
        watched.step(frame)
        for _ in range(4):
            watched.step(None, flow=watched.frames[-1].boxes)
    assert watched.ids() == [1]


def test_after_a_cut_who_was_here_has_been_out_of_sight_since_the_first_odd_picture():
    rng = np.random.default_rng(7)
    watched = Watched()
    for frame in [*walk(lambda t: 300.0, 0, 20, rng), *walk(lambda t: 300.0, 1, 3, rng)]:
        watched.step(frame, flow=watched.frames[-1].boxes if watched.frames else None)
    assert watched.ids() == [1, 2]
    assert watched.tracker._unseen_s(at(2.2), 0) == pytest.approx(0.2)


@pytest.mark.parametrize(("gap", "own"), [(0, 8), (4, 6)])
def test_pictures_in_doubt_are_the_track_s_own_when_it_ends(gap, own):
    """Nobody else has been shown: eight pictures are eight, also where the last two were in doubt. After a gap, it may
    well have been somebody else."""
    rng = np.random.default_rng(7)
    watched = Watched().run([*walk(lambda t: 300.0, 0, 6, rng), *[seen([])] * gap, *somebody_like(rng, 2)])
    [track] = watched.tracker._tracks
    assert len(track.doubt.pictures) == 2
    assert watched.finish()[-1].embeddings_seen == own


def test_a_doubt_does_not_reach_back_long():
    """Two odd pictures before the track was unclear for 11 s are not the first of three."""
    rng = np.random.default_rng(7)
    odd = walk(lambda t: 300.0, 1, 2, rng)
    own = walk(lambda t: 300.0, 0, 20, rng)
    watched = Watched().run([*own, *odd, *[seen([person_box(300.0)])] * 110, *odd, *own])
    assert watched.ids() == [1]


def test_who_is_found_again_by_looks_is_not_in_doubt_for_what_was_before():
    rng = np.random.default_rng(7)
    turned = 0.8 * look(0) + 0.6 * look(1)  # a third of the way to a stranger's
    back = [seen([person_box(420.0)], [blurred(turned, rng, 0.02)])]
    odd = walk(lambda t: 300.0, 1, 2, rng)
    watched = Watched().run([*walk(lambda t: 300.0, 0, 20, rng), *odd, *[seen([])] * 15, *back])
    assert watched.ids() == [1]
    [track] = watched.tracker._tracks
    assert track.row != NO_DETECTION and not track.doubt


def test_a_cut_is_told_at_once():
    rng = np.random.default_rng(7)
    watched = Watched().run([*walk(lambda t: 300.0, 0, 20, rng), *walk(lambda t: 300.0, 1, 4, rng)])
    assert watched.ids() == [1, 2]
    told = [t for t in watched.tracklets if t.key.number == 1]
    assert told[-1].t_last_ns == at(2.0) and not told[-1].ended


def test_of_who_is_not_yet_told_a_cut_tells_nothing():
    """Three pictures of somebody, three of somebody else, all within the time that a track takes to be told."""
    rng = np.random.default_rng(7)
    watched = Watched(confirm_s=0.5)
    for frame in [*walk(lambda t: 300.0, 0, 3, rng), *walk(lambda t: 300.0, 1, 4, rng)]:
        watched.step(frame, 0.06)
    assert watched.ids() == [] and not watched.tracklets


@pytest.mark.parametrize(("shift", "numbers"), [(30.0, [1, 2]), (3.0, [1])])
def test_who_is_half_hidden_by_somebody_is_beside_them(shift, numbers):
    """Boxes 30 of 80 px apart share .45: one is passed over as a second box on one person, and may be another's."""
    rng = np.random.default_rng(7)
    both = [
        seen(
            [person_box(300.0), person_box(300.0 + shift)],
            [blurred(look(0), rng), blurred(look(2), rng)],
            [0.9, 0.8],
        )
        for _ in range(8)
    ]
    watched = Watched().run([*walk(lambda t: 300.0, 0, 20, rng), *both, *somebody_like(rng)])
    assert watched.ids() == numbers


def test_beside_others_somebody_need_look_less_strange_as_well():
    rng = np.random.default_rng(7)
    # Of two boxes 80 px wide and 50 px apart 30 of 130 px are shared: more than .15.
    both = [
        seen([person_box(300.0), person_box(350.0)], [blurred(look(0), rng), blurred(look(2), rng)])
        for _ in range(4)
    ]
    watched = Watched().run([*walk(lambda t: 300.0, 0, 20, rng), *both, *somebody_like(rng)])
    assert watched.ids() == [1, 2, 3]


def test_one_s_own_look_ends_a_doubt_and_what_was_strange_is_left_out():
    rng = np.random.default_rng(7)
    frames = [*walk(lambda t: 300.0, 0, 20, rng), *([seen([])] * 4)]
    for _ in range(6):  # never three of somebody else without one of their own
        frames += [*walk(lambda t: 300.0, 1, 2, rng), *walk(lambda t: 300.0, 0, 1, rng)]
    watched = Watched().run(frames)
    assert watched.ids() == [1]
    assert all(row @ look(0) > 0.8 for row in watched.finish()[-1].prototypes.astype(np.float32))


def test_pictures_that_agree_with_nothing_are_not_kept_for_good():
    """Every one of them used to be remembered, and compared with all others in every frame."""
    rng = np.random.default_rng(9)
    # After the first 20 no two pictures are alike: each shows one of 15 others, in turn. Nobody else came.
    odd = [seen([person_box(300.0)], [blurred(look(1 + n % 15), rng)]) for n in range(200)]
    watched = Watched().run([*walk(lambda t: 300.0, 0, 20, rng), *odd])
    assert watched.ids() == [1]
    [track] = watched.tracker._tracks
    assert len(track.doubt.pictures) < MOST_DOUBTS
    assert all(row @ look(0) > 0.8 for row in watched.finish()[-1].prototypes.astype(np.float32))


def test_a_few_odd_pictures_cut_nothing():
    rng = np.random.default_rng(8)
    frames = walk(lambda t: 300.0, 0, 40, rng)
    for n in (15, 16, 25):
        frames[n] = seen([person_box(300)], [blurred(look(1), rng)])
    watched = Watched().run(frames)
    assert watched.ids() == [1]
    assert all(abs(row @ look(1)) < 0.3 for row in watched.finish()[-1].prototypes.astype(np.float32))


# ---- what is told --------------------------------------------------------------------------------------------


def test_every_revision_holds_all_that_the_one_before_held():
    watched = Watched().run(busy(9, 80))
    watched.finish()
    latest: dict[int, Tracklet] = {}
    for t in watched.tracklets:
        before = latest.get(t.key.number)
        assert t.key.camera_id == "a" and t.model_hash == "m" and t.image_size == SIZE
        assert len(t.prototypes) <= 8
        assert t.t_first_ns <= t.t_last_ns
        if before is not None:
            assert not before.ended  # nothing is told of a track after its end
            assert t.revision == before.revision + 1
            assert t.t_first_ns == before.t_first_ns and (t.first_box == before.first_box).all()
            assert t.t_last_ns >= before.t_last_ns
            assert t.boxes_seen >= before.boxes_seen
            assert t.embeddings_seen >= before.embeddings_seen
        latest[t.key.number] = t
    assert len(latest) >= 4
    assert all(t.ended for t in latest.values())


def test_a_tracklet_is_told_every_two_seconds_and_once_at_its_end():
    watched = Watched(lost_s=1.0).run(walk(lambda t: 300.0, None, 61))
    told = len(watched.tracklets)
    assert 3 <= told <= 5  # 6 s: when confirmed, then every 2 s
    watched.run([Detections.none()] * 20)
    ends = [t for t in watched.tracklets if t.ended]
    assert len(ends) == 1
    assert ends[0].t_last_ns == at(6.0)  # when it was really seen last, not when it was given up
    assert ends[0].boxes_seen == 61 and ends[0].score_mean == pytest.approx(0.9)
    assert watched.tracker.finish(at(9)) == []


def test_finish_ends_everybody_who_was_confirmed_once():
    watched = Watched().run([seen([person_box(300), person_box(600)])] * 5)
    watched.step(seen([person_box(300), person_box(600), person_box(900)]))  # one more, tentative
    ended = watched.tracker.finish(at(1))
    assert [t.key.number for t in ended] == [1, 2] and all(t.ended for t in ended)
    assert watched.tracker.finish(at(2)) == []


def test_the_mean_embedding_is_of_good_pictures():
    rng = np.random.default_rng(10)
    watched = Watched().run(walk(lambda t: 300.0, 0, 30, rng))
    last = watched.finish()[-1]
    assert last.embeddings_seen == 30
    mean = last.mean_embedding / np.linalg.norm(last.mean_embedding)
    assert mean @ look(0) > 0.99
    assert np.linalg.norm(last.mean_embedding) < 1  # a mean of rows that differ is shorter than they are


def test_velocity_is_of_the_box_centre_in_pixels_a_second():
    last = Watched().run(walk(lambda t: 100 + 200 * t, None, 30)).finish()[-1]
    assert last.velocity_px_s[0] == pytest.approx(200, rel=0.1)
    assert abs(last.velocity_px_s[1]) < 10


# ---- whatever comes ------------------------------------------------------------------------------------------


def test_empty_frames():
    watched = Watched().run([Detections.none()] * 5)
    assert all(len(t) == 0 for t in watched.frames) and watched.finish() == []


@pytest.mark.parametrize(
    "bad",
    [
        [np.nan, np.nan, np.nan, np.nan],
        [100, 100, np.nan, 300],
        [300, 200, 300, 400],  # no width
        [340, 400, 260, 200],  # inside out
        [0, 0, np.inf, np.inf],
    ],
)
def test_one_bad_box_stops_nobody(bad):
    rng = np.random.default_rng(11)
    watched = Watched()
    for n in range(20):
        good = person_box(300 + 10 * n)
        tracks = watched.step(seen([np.array(bad, np.float32), good], [look(3), blurred(look(0), rng)]))
        assert np.isfinite(tracks.boxes).all()
    assert watched.ids() == [1]
    assert watched.id_at(person_box(490)) == 1


def test_a_score_that_is_no_number_is_no_detection():
    watched = Watched().run(walk(lambda t: 300.0, None, 10))
    for _ in range(5):
        tracks = watched.step(seen([person_box(300)], None, np.nan))
        assert np.isfinite(tracks.boxes).all()
    assert tracks.states.tolist() == [LOST]


def test_an_embedding_that_is_no_number_is_no_embedding():
    rng = np.random.default_rng(12)
    watched = Watched()
    for n in range(40):
        row = np.full(32, np.nan, np.float32) if n % 3 == 0 else blurred(look(0), rng)
        watched.step(seen([person_box(300)], [row]))
    last = watched.finish()[-1]
    assert watched.ids() == [1]
    assert np.isfinite(last.mean_embedding).all() and len(last.prototypes)
    assert np.isfinite(last.prototypes.astype(np.float32)).all()


def test_only_embeddings_that_are_no_numbers():
    watched = Watched()
    for _ in range(40):
        watched.step(seen([person_box(300)], [np.full(32, np.nan, np.float32)]))
    last = watched.finish()[-1]
    assert last.embeddings_seen == 0 and len(last.mean_embedding) == 0


# ---- what a picture is worth ---------------------------------------------------------------------------------


def quality(*boxes: NDArray, size: tuple[int, int] = SIZE, scores: float = 0.9) -> NDArray:
    return picture_quality(seen(list(boxes), None, scores), size)


def test_a_whole_big_unhidden_sure_box_is_the_best_picture():
    good = quality(person_box(500))[0]
    assert good == pytest.approx(0.9**0.5)  # higher than 96 px, upright, alone: the score alone is left
    assert quality(person_box(500, 400, 48))[0] == pytest.approx(good / 2)  # half of 96 px high
    assert quality(person_box(500), scores=0.4)[0] < good
    assert quality(np.array([400, 200, 600, 400]))[0] < 0.7 * good  # squat: cut at the legs
    assert quality(person_box(0))[0] < 0.7 * good  # cut by the picture's edge
    assert quality(person_box(0), size=(0, 0))[0] == pytest.approx(good)  # no edge is known
    assert quality(np.array([100, 100, 100, 200]))[0] == 0
    assert len(quality()) == 0


def test_who_stands_behind_is_the_worse_picture():
    front, behind = quality(person_box(500, 420), person_box(530, 400))
    assert behind < 0.7 * front


def test_clearly_best_looks_along_the_row_and_the_column():
    cost = np.array([[0.10, 0.30], [0.105, np.nan]])
    assert not clearly_best(cost, 0, 0)  # 0.105 in its column is within a tenth
    assert clearly_best(cost, 0, 1) is False  # 0.10 in its row is even better
    assert clearly_best(np.array([[0.1, 0.2], [0.3, 0.1]]), 0, 0)
    assert clearly_best(np.array([[0.1]]), 0, 0)


# ---- cameras that look rarely ---------------------------------------------------------------------------------

FROM_ABOVE = FloorPlan(np.diag([0.01, 0.01, 1.0]))  # 100 px are a metre


def at_half_seconds(
    places: Iterable[Sequence[tuple[float, float]]],
    plan: FloorPlan | None = FROM_ABOVE,
    model_hash: str = "m",
) -> Watched:
    """People 1 m high, seen twice a second at these (x, y) in pixels, without a look."""
    watched = Watched(plan, model_hash)
    for here in places:
        watched.step(seen([person_box(x, y, 100.0) for x, y in here]), dt_s=0.5)
    return watched


def test_two_looks_a_second_follow_people_by_where_they_stand():
    """At 1.4 m/s, 70 px a look, no box (40 px wide) overlaps the last one; one walks in the other's steps."""
    walks = [[(100 + 70 * n, 300), (240 + 70 * n, 300)] for n in range(8)]
    watched = at_half_seconds(walks)
    assert watched.ids() == [1, 2]
    assert [watched.id_at(person_box(100 + 70 * n, 300, 100.0), n) for n in range(1, 8)] == [1] * 7


@pytest.mark.parametrize("model_hash", ["", "m"])
def test_who_is_missed_once_at_two_looks_a_second_is_the_same(model_hash):
    walk_along = [[(100 + 70 * n, 300)] for n in range(9)]
    walk_along[1] = walk_along[5] = []  # right after the first sight, and later
    assert at_half_seconds(walk_along, model_hash=model_hash).ids() == [1]


def test_where_two_readings_are_equally_good_the_tracklets_are_parted():
    """Two walk to one spot and stand on either side of the line that both came along: nobody knows who is who."""
    watched = at_half_seconds(
        [
            [(100, 300), (360, 300)],
            [(165, 300), (295, 300)],
            [(230, 260), (230, 340)],
            [(230, 260), (230, 340)],
        ]
    )
    assert watched.ids() == [1, 2, 3, 4]
    ended = {t.key.number: t for t in watched.tracklets if t.ended}
    assert sorted(ended) == [1, 2] and {t.t_last_ns for t in ended.values()} == {at(0.5)}
    assert sorted(watched.frames[2].ids.tolist()) == [3, 4]  # told at once, under new numbers


@pytest.mark.parametrize(("model_hash", "ids"), [("", [1, 2, 3, 4]), ("m", [1, 2])])
def test_without_an_embedder_less_doubt_is_enough_to_part_two(model_hash, ids):
    """One reading is better by odds of 5 to 20 : 1; what all cameras see of the pieces says more than that."""
    lines = [
        [(100, 300), (360, 308)],
        [(165, 300), (295, 308)],
        [(230, 260), (230, 340)],
        [(230, 260), (230, 340)],
    ]
    assert at_half_seconds(lines, model_hash=model_hash).ids() == ids


def test_one_person_behind_another_is_seen_at_two_looks_a_second_where_the_floor_is_known():
    both = [
        [(300.0, 300.0), (305.0, 270.0)]
    ] * 4  # 35 x 70 / (2 x 4000 - 2450) = .44: a second box on one person
    assert (at_half_seconds(both).frames[-1].states == CONFIRMED).sum() == 2
    assert (at_half_seconds(both, plan=None).frames[-1].states == CONFIRMED).sum() == 1


def test_the_floor_changes_nothing_where_looks_are_frequent():
    rng = np.random.default_rng(1)
    frames = [
        seen(
            [
                person_box(100 + 12 * n, 400) + rng.normal(0, 2, 4),
                person_box(700 - 15 * n, 420) + rng.normal(0, 2, 4),
            ]
        )
        for n in range(40)
    ]
    told = [Watched(plan).run(frames) for plan in (None, FROM_ABOVE)]
    for one, other in zip(told[0].frames, told[1].frames, strict=True):
        assert one.ids.tolist() == other.ids.tolist() and np.array_equal(one.boxes, other.boxes)
