"""The per-camera step: who is looked at, who is embedded, and that answers can be recorded or shared."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from flow.reduced import ReducedFlow
from tests.scenes import SIZE, at, blurred, look, person_box, seen
from tracker.config import KeyframeSettings, TrackSettings
from tracker.core.boxes import FloorPlan
from tracker.core.camera_tracker import CameraTracker
from tracker.core.pipeline import Answers, CameraPipeline, ask_batch, crop, step_batch
from tracker.types import CARRIED, CameraUpdate, Detections, Frame, array_to_plain

W, H = SIZE
PICTURE = np.zeros((H, W, 3), np.uint8)
NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


def pipeline(camera: str = "a", **parts: object) -> CameraPipeline:
    tracker = CameraTracker(camera, TrackSettings(), model_hash="m")
    return CameraPipeline(camera, tracker=tracker, **parts)  # type: ignore[arg-type]


def frame(camera: str, seq: int, image: NDArray[np.uint8] = PICTURE) -> Frame:
    return Frame(camera_id=camera, seq=seq, t_ns=at(seq / 10), image=image)


class Scripted:
    """A detector that reads its answer's number from the picture's first pixel."""

    def __init__(self, answers: Sequence[Detections]) -> None:
        self.answers, self.calls = answers, []  # type: ignore[var-annotated]

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        self.calls.append(len(images))
        return [self.answers[int(image[0, 0, 0])] for image in images]


class Looks:
    """An embedder that gives every crop the look of the person whose colour it has."""

    model_hash = "m"

    def __init__(self) -> None:
        self.calls: list[list[tuple[int, int]]] = []

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.calls.append([(c.shape[1], c.shape[0]) for c in crops])
        return np.stack([look(int(c[c.shape[0] // 2, c.shape[1] // 2, 1])) for c in crops])


def picture(number: int, people: Sequence[tuple[int, NDArray]] = ()) -> NDArray[np.uint8]:
    """A picture whose first pixel is ``number``, with people (colour, box) painted into it."""
    image = PICTURE.copy()
    for colour, box in people:
        x1, y1, x2, y2 = np.clip(box, 0, [W, H, W, H]).astype(int)
        image[y1:y2, x1:x2, 1] = colour
    image[0, 0, 0] = number
    return image


def same_bytes(a: object, b: object) -> bool:
    encode = msgspec.msgpack.Encoder(enc_hook=array_to_plain).encode
    return encode(a) == encode(b)


# ---- where people are looked for -----------------------------------------------------------------------------


def test_only_feet_inside_a_region_count():
    left = np.array([[0, 0], [500, 0], [500, 600], [0, 600]])
    far_right = np.array([[800, 0], [1000, 0], [1000, 600], [800, 600]])
    found = seen([person_box(250), person_box(600), person_box(900)])
    assert pipeline(regions=[left]).admitted(found).boxes[:, 0].tolist() == [210]
    assert pipeline(regions=[left, far_right]).admitted(found).boxes[:, 0].tolist() == [210, 860]
    # The feet decide, not the box: this one reaches into the region, but stands outside.
    assert len(pipeline(regions=[left]).admitted(seen([person_box(530)]))) == 0


def test_who_stands_in_an_ignored_place_is_not_looked_at():
    poster = np.array([[550, 350], [650, 350], [650, 450], [550, 450]])
    found = seen([person_box(250), person_box(600)])
    assert pipeline(ignore=[poster]).admitted(found).boxes[:, 0].tolist() == [210]
    assert len(pipeline().admitted(found)) == 2


def test_a_mask_is_true_where_people_are_looked_at():
    mask = np.zeros((H, W), bool)
    mask[:, :500] = True
    found = seen([person_box(250), person_box(600), person_box(-50), person_box(1050)])
    # Feet beyond the picture count as its nearest pixel: -50 is in, 1050 is out.
    assert pipeline(mask=mask).admitted(found).boxes[:, 0].tolist() == [210, -90]


def test_rows_keep_their_embeddings_when_others_are_left_out():
    mask = np.zeros((H, W), bool)
    mask[:, 500:] = True
    found = seen([person_box(250), person_box(600)], [look(0), look(1)])
    kept = pipeline(mask=mask).admitted(found)
    assert kept.embedded.tolist() == [0]
    np.testing.assert_array_equal(kept.embeddings[0], look(1))


def test_a_box_that_is_no_number_goes_through_masks_and_regions():
    bad = seen([np.full(4, np.nan), person_box(250)])
    whole = np.array([[-1, -1], [2000, -1], [2000, 2000], [-1, 2000]])
    one = pipeline(mask=np.ones((H, W), bool), regions=[whole])
    admitted = one.admitted(bad)
    assert one.choose(0, admitted).tolist() == [len(admitted) - 1]


# ---- who is embedded -----------------------------------------------------------------------------------------


def started(boxes: Sequence[NDArray], frames: int = 5) -> CameraPipeline:
    """A pipeline that has tracked these boxes for ``frames`` at 10 a second, embedded in every one."""
    one = pipeline()
    one.see(SIZE)
    for n in range(frames):
        one.finish(n, at(n / 10), Answers(detections=seen(boxes, [look(k) for k in range(len(boxes))])))
    return one


def test_tiny_hidden_and_doubtful_boxes_are_not_embedded():
    fresh = pipeline()
    fresh.see(SIZE)
    tiny = person_box(0, 300, 8)  # and cut by the picture's edge
    front, hidden = person_box(500, 420), person_box(502, 400, 180)
    doubtful = person_box(800)
    found = seen([tiny, front, hidden, doubtful, person_box(200)], None, [0.9, 0.9, 0.9, 0.3, 0.9])
    assert fresh.choose(0, found).tolist() == [1, 4]


def test_somebody_alone_is_not_embedded_again_within_a_quarter_second():
    one = started([person_box(300)])  # last embedded at 0.4 s; embed_every_s = 0.25
    found = seen([person_box(300)])
    assert one.choose(at(0.5), found).tolist() == []
    assert one.choose(at(0.6), found).tolist() == []
    assert one.choose(at(0.7), found).tolist() == [0]


def test_somebody_new_is_embedded_at_once():
    one = started([person_box(300)])
    assert one.choose(at(0.5), seen([person_box(300), person_box(700)])).tolist() == [1]


def test_two_close_together_are_embedded_in_every_frame():
    close = [person_box(300), person_box(340)]
    one = started(close)
    assert one.choose(at(0.5), seen(close)).tolist() == [0, 1]


def test_nothing_to_embed():
    assert pipeline().choose(0, Detections.none()).tolist() == []
    assert started([person_box(300)]).choose(at(0.5), Detections.none()).tolist() == []


# ---- answers -------------------------------------------------------------------------------------------------


def test_the_chosen_crops_are_embedded_in_one_call_and_land_in_their_rows():
    box_a, box_b = person_box(300), person_box(700)
    detector = Scripted([seen([box_a, box_b]), seen([box_b])])
    embedder = Looks()
    one, two = pipeline("a"), pipeline("b")
    frames = [
        frame("a", 0, picture(0, [(3, box_a), (5, box_b)])),
        frame("b", 0, picture(1, [(7, box_b)])),
    ]
    answers = ask_batch([one, two], frames, detector=detector, embedder=embedder)
    assert detector.calls == [2]  # both pictures at once
    assert embedder.calls == [[(80, 200)] * 3]  # and all crops at once, as large as their boxes
    first, second = (a.detections for a in answers)
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.embeddings, np.stack([look(3), look(5)]))
    np.testing.assert_array_equal(second.embeddings, np.stack([look(7)]))


def test_recorded_embeddings_are_used_as_they_are():
    """A camera whose detections are recorded is shown to no detector; what has embeddings to no embedder."""
    recorded = {"a": lambda seq: seen([person_box(300)], [look(9)])}
    detector, embedder = Scripted([]), Looks()
    [answer] = ask_batch(
        [pipeline()], [frame("a", 0)], detector=detector, embedder=embedder, recorded=recorded
    )
    assert detector.calls == [] and embedder.calls == []
    assert answer.detections is not None
    np.testing.assert_array_equal(answer.detections.embeddings[0], look(9))


def test_recorded_boxes_without_embeddings_are_embedded_from_the_picture():
    recorded = {"a": lambda seq: seen([person_box(300)])}
    embedder = Looks()
    shown = frame("a", 0, picture(0, [(4, person_box(300))]))
    [answer] = ask_batch([pipeline()], [shown], detector=None, embedder=embedder, recorded=recorded)
    assert answer.detections is not None
    np.testing.assert_array_equal(answer.detections.embeddings[0], look(4))
    # Without a picture there is nothing to embed.
    embedder.calls.clear()
    [answer] = ask_batch(
        [pipeline()], [frame("a", 0, NO_PICTURE)], detector=None, embedder=embedder, recorded=recorded
    )
    assert embedder.calls == [] and answer.detections is not None and not len(answer.detections.embedded)


def scripts(rng: np.random.Generator, frames: int) -> list[list[tuple[int, NDArray]]]:
    """Two people to and fro, as (colour, box) by frame."""
    start, speed = rng.uniform(150, 850, 2), rng.uniform(-200, 200, 2)
    feet = (350.0, 500.0)
    return [
        [(3 + k, person_box(float(start[k] + speed[k] * n / 10), feet[k])) for k in range(2)]
        for n in range(frames)
    ]


def played(cameras: Sequence[str], *, together: bool) -> dict[str, list[CameraUpdate]]:
    """Updates of cameras that are asked in one batch, or each alone."""
    shows = {c: scripts(np.random.default_rng(n), 20) for n, c in enumerate(("a", "b"))}
    detectors = {c: Scripted([seen([box for _, box in people]) for people in shows[c]]) for c in shows}
    pipelines = {c: pipeline(c) for c in cameras}
    both = Scripted([d for n in range(20) for d in (detectors["a"].answers[n], detectors["b"].answers[n])])
    out: dict[str, list[CameraUpdate]] = {c: [] for c in cameras}
    for n in range(20):
        frames = [frame(c, n, picture(2 * n + (c == "b"), shows[c][n])) for c in cameras]
        batches = [frames] if together else [[f] for f in frames]
        for batch in batches:
            updates = step_batch(
                [pipelines[f.camera_id] for f in batch], batch, detector=both, embedder=Looks()
            )
            for u in updates:
                out[u.camera_id].append(u)
    return out


def test_two_cameras_in_one_batch_are_as_each_alone():
    together = played(["a", "b"], together=True)
    assert same_bytes(together, played(["a", "b"], together=False))
    assert same_bytes(together["a"], played(["a"], together=True)["a"])
    assert max(len(u.tracks) for u in together["a"]) == 2


class Drift:
    """A flow estimator: the whole picture moves 4 px to the right from frame to frame."""

    def reduce(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image

    def between(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> object:
        class Flow:
            field = np.tile(np.array([4.0, 0.0], np.float32), (H // 4, W // 4, 1))
            scale = 4.0
            trust = None

        return Flow()


def test_tracking_goes_on_from_recorded_answers_as_from_the_pictures():
    """Answers keep all that the pixels said: replayed through bytes they give the same updates."""
    encode = msgspec.msgpack.Encoder(enc_hook=array_to_plain).encode
    decoder = msgspec.msgpack.Decoder(Answers, dec_hook=_array)
    show = scripts(np.random.default_rng(5), 20)
    detector = Scripted([seen([box for _, box in people]) for people in show])
    live, again = pipeline(), pipeline()  # the second one never sees a picture
    moved = 0
    for n in range(20):
        [answers] = ask_batch(
            [live], [frame("a", n, picture(n, show[n]))], detector=detector, embedder=Looks(), motion=Drift()
        )
        moved += answers.moved is not None
        update = live.finish(n, at(n / 10), answers)
        replayed = again.finish(n, at(n / 10), decoder.decode(encode(answers)))
        assert same_bytes(update, replayed)
    assert moved == 19
    assert same_bytes(live.end(20, at(2)), again.end(20, at(2)))


def _array(kind: object, value: list) -> NDArray:
    dtype, shape, data = value
    return np.frombuffer(data, dtype).reshape(shape)


def test_a_moving_camera_takes_the_tracks_along():
    """The picture jumps 140 px to the right, so that the first person stands where the second one was."""
    jump = np.array([[1.0, 0, 140], [0, 1, 0], [0, 0, 1]])
    one = pipeline()
    for n in range(10):
        one.finish(n, at(n / 10), Answers(detections=seen([person_box(300), person_box(440)])))
    after = seen([person_box(440), person_box(580)])
    update = one.finish(10, at(1.0), Answers(detections=after, camera=jump))
    assert dict(zip(update.tracks.ids.tolist(), update.tracks.boxes[:, 0].tolist(), strict=True)) == {
        1: 400,
        2: 540,
    }


# ---- resting -------------------------------------------------------------------------------------------------


def test_the_detector_rests_only_under_load_when_all_is_certain_and_never_twice():
    one = pipeline()
    assert one.wants_detection(2.0)  # nothing is known yet
    for n in range(5):
        one.finish(n, at(n / 10), Answers(detections=seen([person_box(300)])))
    assert one.wants_detection(0.5)
    assert not one.wants_detection(0.95)
    assert one.wants_detection(0.95)
    assert not one.wants_detection(0.95)
    one.finish(5, at(0.5), Answers(detections=seen([person_box(300), person_box(700)])))
    assert one.wants_detection(0.95)  # had rested; and now somebody is new, so it goes on looking
    assert one.wants_detection(0.95)


def test_a_rest_stands_in_the_update():
    one = started([person_box(300)])
    detector = Scripted([seen([person_box(300)])])
    frames = [frame("a", n) for n in range(5, 9)]
    updates = [step_batch([one], [f], detector=detector, embedder=None, load=1.0)[0] for f in frames]
    assert [u.detected for u in updates] == [False, True, False, True]
    assert len(detector.calls) == 2
    assert all(u.tracks.ids.tolist() == [1] for u in updates)


# ---- between keyframes ---------------------------------------------------------------------------------------


class Scene:
    """One person who goes ``speed`` px a frame, before a camera that moves the picture by ``pan`` px a frame.

    It is the motion too: a reduced picture is its frame's number, and a field is what lies between two numbers.
    """

    def __init__(
        self, speed: float = 6.0, pan: float = 0.0, trust: float | None = None, cuts: Sequence[int] = ()
    ) -> None:
        self.speed, self.pan, self.trust, self.cuts = speed, pan, trust, cuts
        self.pairs: list[tuple[int, int]] = []

    def box(self, n: int) -> NDArray[np.float32]:
        return person_box(300 + (self.speed + self.pan) * n)

    def frame(self, n: int) -> Frame:
        return frame("a", n, picture(n))

    def reduce(self, image: NDArray[np.uint8]) -> int:
        return int(image[0, 0, 0])

    def between(self, before: int, after: int) -> ReducedFlow:
        self.pairs.append((before, after))
        field = np.full((H // 4, W // 4, 2), (self.pan * (after - before), 0), np.float32)
        x1, y1, x2, y2 = (self.box(before) / 4).astype(int)
        field[y1 : y2 + 1, x1 : x2 + 1, 0] += self.speed * (after - before)
        if self.trust is None:
            return ReducedFlow(field, 4.0)
        is_cut = any(before < cut <= after for cut in self.cuts)
        if is_cut:
            field = np.random.default_rng(after).normal(0, 60, field.shape).astype(np.float32)
        trust = np.full(field.shape[:2], 0.01 if is_cut else self.trust, np.float32)
        return ReducedFlow(field, 4.0, trust)


def played_with(
    scene: Scene, frames: Sequence[int], motion: Scene | None, **keyframes: object
) -> tuple[list[Answers], list[CameraUpdate], list[NDArray]]:
    """Answers and updates of a run over these frames, and where the tracker thought the person was before each."""
    one = pipeline(keyframes=KeyframeSettings(**keyframes))  # type: ignore[arg-type]
    detector = Scripted([seen([scene.box(n)]) for n in range(max(frames) + 1)])
    answers, updates, before = [], [], []
    for n in frames:
        before.append(one._tracker.boxes())
        [answer] = ask_batch([one], [scene.frame(n)], detector=detector, embedder=None, motion=motion)
        answers.append(answer)
        updates.append(one.finish(n, at(n / 10), answer))
    return answers, updates, before


def looked_at(updates: Sequence[CameraUpdate]) -> list[int]:
    return [u.seq for u in updates if u.detected]


def test_the_first_frame_and_every_fourth_after_it_are_looked_at():
    _, updates, _ = played_with(Scene(), range(12), None, every=4)
    assert looked_at(updates) == [0, 4, 8]
    _, updates, _ = played_with(Scene(), range(5), None)
    assert looked_at(updates) == [0, 1, 2, 3, 4]
    # Adaptive: somebody new is looked at after ceil(4 / 3) = 2 frames, until confirmed at 0.2 s. By prediction alone
    # one then soon is no longer sure of the place, with flow one is.
    _, updates, _ = played_with(Scene(speed=0), range(12), None, every=4, adaptive=True)
    assert looked_at(updates)[:3] == [0, 2, 5]
    _, updates, _ = played_with(Scene(speed=0), range(12), Scene(speed=0), every=4, adaptive=True)
    assert looked_at(updates) == [0, 2, 6, 10]


def test_a_keyframe_that_rests_under_load_is_made_up_for_in_the_next_frame():
    one, scene = pipeline(keyframes=KeyframeSettings(every=3)), Scene(speed=0)
    detector = Scripted([seen([scene.box(0)])] * 12)
    looked = []
    for n in range(12):
        [update] = step_batch([one], [scene.frame(n)], detector=detector, embedder=None, load=1.0)
        if update.detected:
            looked.append(n)
    # 3: somebody is new, so it looks; 6 rests, and so does every second keyframe that comes due from then on.
    assert looked == [0, 3, 7, 11]


def test_step_carries_from_frame_to_frame():
    scene = Scene()
    answers, updates, before = played_with(scene, range(9), scene, every=4, carry="step")
    assert scene.pairs == [(n, n + 1) for n in range(8)]
    assert answers[0].moved is None  # nobody was there yet
    for n in range(1, 9):
        assert answers[n].trust is None and answers[n].camera is None
        np.testing.assert_allclose(answers[n].moved, before[n] + [6, 0, 6, 0], atol=1e-3)
    assert [u.tracks.detections.tolist() for u in updates] == [
        [0],
        *[[CARRIED]] * 3,
        [0],
        *[[CARRIED]] * 3,
        [0],
    ]
    # The first steps meet a filter that knows no speed yet; after the second look it has learned it.
    for n in range(5, 8):
        np.testing.assert_allclose(updates[n].tracks.boxes[0], scene.box(n), atol=2)


def test_gap_carries_from_the_last_keyframe_to_each_frame():
    scene = Scene()
    answers, updates, before = played_with(scene, range(9), scene, every=4, carry="gap")
    assert scene.pairs == [(0, n) for n in range(1, 5)] + [(4, n) for n in range(5, 9)]
    for n in range(1, 9):
        key = 4 * ((n - 1) // 4)
        np.testing.assert_allclose(
            answers[n].moved, before[key + 1] + np.array([1, 0, 1, 0]) * 6 * (n - key), atol=1e-3
        )
    for n in range(5, 8):
        np.testing.assert_allclose(updates[n].tracks.boxes[0], scene.box(n), atol=3)


def test_a_gap_is_as_one_step_over_it():
    scene = Scene(pan=3)
    gap, _, _ = played_with(scene, range(4), scene, every=4, carry="gap")
    leap, _, _ = played_with(scene, [0, 3], scene, every=4, carry="step")
    assert gap[3].moved is not None
    np.testing.assert_array_equal(gap[3].moved, leap[1].moved)


def test_keys_asks_for_flow_at_keyframes_only_and_prediction_carries_between():
    scene = Scene()
    answers, updates, before = played_with(scene, range(13), scene, every=4, carry="keys")
    assert scene.pairs == [(0, 4), (4, 8), (8, 12)]
    assert [n for n, a in enumerate(answers) if a.moved is not None] == [4, 8, 12]
    for key in (4, 8, 12):  # from the boxes as they were after the last keyframe
        np.testing.assert_allclose(answers[key].moved, before[key - 3] + [24, 0, 24, 0], atol=1e-3)
    assert all(len(u.tracks) == 1 for u in updates)
    for n in range(9, 12):  # by speed alone
        np.testing.assert_allclose(updates[n].tracks.boxes[0], scene.box(n), atol=3)


@pytest.mark.parametrize("carry", ["step", "gap"])
def test_the_camera_moves_between_two_frames_what_it_moves_since_the_keyframe_less_its_drift(carry):
    """5 px a frame: from the keyframe flow shows 5, 10, 15, of which 0, 5, 10 have been told already."""
    scene = Scene(pan=5)
    answers, updates, _ = played_with(scene, range(9), scene, every=4, carry=carry)
    assert answers[0].camera is None
    for n in range(1, 9):
        np.testing.assert_allclose(answers[n].camera, [[1, 0, 5], [0, 1, 0], [0, 0, 1]], atol=1e-4)
    for n in range(5, 8):
        np.testing.assert_allclose(updates[n].tracks.boxes[0], scene.box(n), atol=3)
    still, _, _ = played_with(Scene(), range(9), Scene(), every=4, carry=carry)
    assert all(a.camera is None for a in still)


def test_keys_tell_the_cameras_motion_of_the_whole_gap_at_once():
    scene = Scene(pan=5)
    answers, _, _ = played_with(scene, range(9), scene, every=4, carry="keys")
    assert [n for n, a in enumerate(answers) if a.camera is not None] == [4, 8]
    np.testing.assert_allclose(answers[8].camera, [[1, 0, 20], [0, 1, 0], [0, 0, 1]], atol=1e-4)


# ---- trust, cuts and other surprises -------------------------------------------------------------------------


def test_the_trust_of_flow_goes_with_every_box():
    scene = Scene(trust=0.75)
    answers, _, _ = played_with(scene, range(3), scene, every=4)
    trust = answers[2].trust
    assert trust is not None and trust.dtype == np.float32 and trust.tolist() == [0.75]


def test_full_trust_is_as_none():
    sure, silent = Scene(trust=1.0, pan=2), Scene(pan=2)
    for carry in ("step", "gap", "keys"):
        _, a, _ = played_with(sure, range(9), sure, every=4, carry=carry)
        _, b, _ = played_with(silent, range(9), silent, every=4, carry=carry)
        assert same_bytes(a, b)


@pytest.mark.parametrize("carry", ["step", "gap"])
def test_at_a_cut_prediction_carries_everybody(carry):
    """Rubbish of 60 px, and a network that knows it for such: as if there had been no flow in that frame."""
    scene = Scene(trust=0.9, cuts=[6])
    answers, updates, _ = played_with(scene, range(8), scene, every=4, carry=carry)
    assert answers[6].moved is not None and np.isnan(answers[6].moved).all()
    assert answers[6].trust is not None and answers[6].trust.tolist() == [0] and answers[6].camera is None
    np.testing.assert_allclose(updates[6].tracks.boxes[0], scene.box(6), atol=3)


def test_what_is_not_known_of_the_camera_takes_nothing_back():
    """A cut used to be a camera that had not moved since the keyframe: its drift was undone, and then done again."""

    class Blinks(Scene):
        def between(self, before: int, after: int) -> ReducedFlow:
            flow = super().between(before, after)
            if after == 2:
                return ReducedFlow(np.full_like(flow.field, np.nan), flow.scale)
            return flow

    scene = Blinks(pan=5)
    answers, _, _ = played_with(scene, range(4), scene, every=4, carry="gap")
    assert answers[2].camera is None and np.isnan(answers[2].moved).all()  # type: ignore[arg-type]
    assert [a.camera[0, 2].round(3) for a in (answers[1], answers[3])] == [5, 10]  # type: ignore[index]


@pytest.mark.parametrize("carry", ["step", "gap", "keys"])
def test_a_picture_of_another_size_has_no_flow(carry):
    scene = Scene()
    one = pipeline(keyframes=KeyframeSettings(every=2, carry=carry))
    small = np.zeros((H // 2, W // 2, 3), np.uint8)
    detector = Scripted([seen([scene.box(n)]) for n in range(9)])
    for n in range(9):
        image = picture(n) if n < 5 else small.copy()
        image[0, 0, 0] = n
        answers = ask_batch([one], [frame("a", n, image)], detector=detector, embedder=None, motion=scene)
        update = one.finish(n, at(n / 10), answers[0])
        assert len(update.tracks) == 1 and np.isfinite(update.tracks.boxes).all()
    # Frame 5 is the first small one. From frame to frame flow goes on at once, else with the next keyframe, 6.
    wanted = {
        "step": [(0, 1), (1, 2), (2, 3), (3, 4), (5, 6), (6, 7), (7, 8)],
        "gap": [(0, 1), (0, 2), (2, 3), (2, 4), (6, 7), (6, 8)],
        "keys": [(0, 2), (2, 4), (6, 8)],
    }
    assert scene.pairs == wanted[carry]


@pytest.mark.parametrize("carry", ["step", "gap", "keys"])
def test_where_nobody_is_no_flow_is_asked_for(carry):
    scene, one = Scene(), pipeline(keyframes=KeyframeSettings(every=2, carry=carry))
    for n in range(6):
        [answers] = ask_batch(
            [one], [scene.frame(n)], detector=Scripted([Detections.none()] * 6), embedder=None, motion=scene
        )
        assert answers.moved is None and answers.camera is None
        assert len(one.finish(n, at(n / 10), answers).tracks) == 0
    assert scene.pairs == []


def test_no_frame_at_all():
    assert step_batch([], [], detector=None, embedder=None, motion=Scene()) == []
    assert len(pipeline(keyframes=KeyframeSettings(every=5)).end(0, 0).tracklets) == 0


def test_what_nobody_looks_at_is_no_keyframe():
    """Without a detector, flow from the last keyframe used to start from a frame that was none."""
    scene, one = Scene(), pipeline(keyframes=KeyframeSettings(every=2, carry="gap"))
    for n in range(6):
        recorded = {"a": lambda seq: seen([scene.box(seq)])} if n == 0 else {}
        [answers] = ask_batch(
            [one], [scene.frame(n)], detector=None, embedder=None, motion=scene, recorded=recorded
        )
        one.finish(n, at(n / 10), answers)
    assert scene.pairs == [(0, n) for n in range(1, 6)]


def test_every_camera_has_its_own_keyframes_and_flow():
    """One batch: a looks at every fifth frame and has no flow, b looks at every frame and has flow."""
    scene = Scene()
    pipelines = [pipeline("a", keyframes=KeyframeSettings(every=5)), pipeline("b")]
    detector = Scripted([seen([scene.box(n)]) for n in range(11)])
    detected: dict[str, list[int]] = {"a": [], "b": []}
    for n in range(11):
        frames = [frame("a", n, picture(n)), frame("b", n, picture(n))]
        for update in step_batch(pipelines, frames, detector=detector, embedder=None, motion={"b": scene}):
            assert update.tracks.ids.tolist() == [1]
            detected[update.camera_id] += [n] if update.detected else []
    assert detected == {"a": [0, 5, 10], "b": list(range(11))}
    assert scene.pairs == [(n, n + 1) for n in range(10)]
    assert detector.calls == [2, 1, 1, 1, 1] * 2 + [2]


# ---- the floor -----------------------------------------------------------------------------------------------


def test_tracks_of_a_calibrated_camera_stand_on_the_floor():
    plan = FloorPlan(np.array([[0.01, 0, 0], [0, 0.01, 0], [0, 0, 1]]))  # 100 px are 1 m
    one = pipeline(plan=plan)
    one.see(SIZE)
    updates = [one.finish(n, at(n / 10), Answers(detections=seen([person_box(300)]))) for n in range(4)]
    for update in updates:  # from the first on, tentative or not
        np.testing.assert_allclose(update.tracks.floor_xy_m, [[3, 4]], atol=1e-6)
    # As much again below the box of 200 px: 2 m nearer.
    np.testing.assert_allclose(updates[-1].tracks.floor_near_xy_m, [[3, 6]], atol=1e-6)
    # A foot is known to 0.04 of the height of 200 px, in both directions: 8 px = 0.08 m.
    np.testing.assert_allclose(updates[-1].tracks.floor_sigma_m, [np.hypot(0.08, 0.08)], rtol=1e-5)


def test_feet_below_the_pictures_edge_are_less_certain():
    plan = FloorPlan(np.diag([0.01, 0.01, 1.0]))
    sigma = []
    for foot in (400.0, float(H)):
        one = pipeline(plan=plan)
        one.see(SIZE)
        for n in range(4):
            update = one.finish(n, at(n / 10), Answers(detections=seen([person_box(300, foot)])))
        sigma.append(float(update.tracks.floor_sigma_m[0]))
    assert sigma[1] > 3 * sigma[0]


def test_without_a_calibration_no_place_is_known():
    update = started([person_box(300)]).finish(9, at(0.9), Answers(detections=seen([person_box(300)])))
    assert np.isnan(update.tracks.floor_xy_m).all()


# ---- the end -------------------------------------------------------------------------------------------------


def test_the_end_closes_every_track():
    one = started([person_box(300), person_box(600)])
    last = one.end(5, at(0.5))
    assert len(last.tracks) == 0 and not last.detected
    assert [(t.key.number, t.ended) for t in last.tracklets] == [(1, True), (2, True)]
    assert one.end(6, at(0.6)).tracklets == ()


def test_an_empty_frame_is_an_update_too():
    update = pipeline().finish(3, at(0.3), Answers(detections=Detections.none()))
    assert (update.seq, update.t_ns, len(update.tracks), update.tracklets) == (3, at(0.3), 0, ())


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        ([10, 20, 30, 60], (40, 20)),
        ([-50, -50, 5.5, 5.2], (6, 6)),  # cut at the picture's edge, whole pixels
        ([995, 595, 2000, 2000], (5, 5)),
        ([5000, 5000, 6000, 6000], (1, 1)),  # outside: still a picture
        ([100, 100, 100, 100], (1, 1)),
    ],
)
def test_a_crop_is_never_empty(box, shape):
    assert crop(PICTURE, np.array(box, float)).shape[:2] == shape


def test_blurred_looks_stay_near():  # of the helper the tests lean on
    rng = np.random.default_rng(0)
    assert 1 - blurred(look(0), rng) @ blurred(look(0), rng) < 0.3
    assert 1 - look(0) @ look(1) == 1
