"""The benchmark of carrying boxes, on two boxes whose motion is known; no data set is needed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import box_carrying
from benchmarks.box_carrying import (
    Found,
    Window,
    by_flow,
    by_head,
    estimators_named,
    keep_velocity,
    lines_of,
    main,
    measure,
    people_of,
    stand_still,
    starts_of,
    ways,
    window_at,
    windows,
)
from flow.reduced import Reduced, ReducedFlow
from tracker.evaluate import Boxes
from tracker.types import Frame

HEIGHT, WIDTH = 60, 100
WALK = np.array([10.0, 10, 20, 30])  # 10 x 20 px, goes 3 px to the right a frame
REST = np.array([60.0, 20, 70, 40])  # stays
MOVED = np.array([3.0, 0, 3, 0])


def picture(number: int = 0) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), number, np.uint8)


class LeftHalfMoves:
    """Flow that knows how far pictures are apart by their brightness: 3 px a step in the left half, none beyond."""

    def reduce(self, image: np.ndarray) -> Reduced:
        return Reduced(image[..., 0], (WIDTH, HEIGHT))

    def between(self, before: Reduced, after: Reduced) -> ReducedFlow:
        field = np.zeros((HEIGHT, WIDTH, 2), np.float32)
        field[:, : WIDTH // 2, 0] = 3.0 * (int(after.picture[0, 0]) - int(before.picture[0, 0]))
        return ReducedFlow(field, 1.0)


class OnePixelDown:
    """A box head that says where it was asked to look, a pixel lower."""

    def carry(self, before, after, boxes, expected=None):
        start = boxes if expected is None else expected
        return (start + [0, 1, 0, 1]).astype(np.float32), np.ones(len(boxes), np.float32)


class Recording:
    """A clip of 7 frames: one walks from the beginning, the other rests from frame 3 on, a third is not scored."""

    name, group = "made", "made"

    def __init__(self) -> None:
        rows = [(t, 1, *WALK[:2] + MOVED[:2] * (t - 1), 10, 20, 1) for t in range(1, 8)]
        rows += [(t, 2, *REST[:2], 10, 20, 1) for t in range(3, 8)]
        rows += [(t, 3, 0, 0, 10, 20, 0) for t in range(1, 8)]
        table = np.array(rows, float)
        self.true_boxes = Boxes(
            table[:, 0].astype(int),
            table[:, 1].astype(int),
            table[:, 2:6],
            table[:, 6],
            np.full(len(table), np.nan),
        )
        self.shown = 0

    def frames(self, to_s: float | None = None):
        for seq in range(7):
            self.shown += 1
            yield Frame(camera_id="made", seq=seq, t_ns=seq, image=picture(seq + 1))


def window(gap: int = 1) -> Window:
    before = np.stack([WALK, REST])
    after = np.stack([WALK + gap * MOVED, REST])
    earlier = np.stack([WALK - gap * MOVED, np.full(4, np.nan)])
    return Window([picture(n) for n in range(gap + 1)], earlier, before, after)


def test_standing_still_is_where_they_were():
    assert_array_equal(stand_still(window())[0], [WALK, REST])


def test_a_velocity_goes_on_and_who_has_just_come_stands_still():
    assert_array_equal(keep_velocity(window(2))[0], [WALK + 2 * MOVED, REST])


def test_nobody_shrinks_to_nothing():
    # 10 px wide after 18: 2 px would be left; 10 px after 30: less than nothing, so 1 px.
    before, earlier = np.array([[10.0, 0, 20, 20]] * 2), np.array([[10.0, 0, 28, 20], [10.0, 0, 40, 20]])
    carried, _ = keep_velocity(Window([], earlier, before, before))
    assert_array_equal(carried[:, 2] - carried[:, 0], [2, 1])


def test_flow_carries_across_the_gap_and_step_by_step():
    seen = window(4)
    pictures, boxes = seen.pictures, seen.before
    at_once, ms = by_flow(LeftHalfMoves(), [pictures[0], pictures[-1]], boxes)
    assert_array_equal(at_once, seen.after)  # the walker's middle is in the left half: 4 x 3 px
    assert ms >= 0
    assert_array_equal(by_flow(LeftHalfMoves(), pictures, boxes)[0], seen.after)
    # The middle half of this box is 46.5 to 51.5, mostly in the half that moves; a step later it has left that.
    far = np.array([[44.0, 10, 54, 30]])
    assert_array_equal(by_flow(LeftHalfMoves(), [pictures[0], pictures[-1]], far)[0], far + 4 * MOVED)
    assert_array_equal(by_flow(LeftHalfMoves(), pictures, far)[0], far + MOVED)


def test_a_field_that_says_nothing_leaves_boxes_where_they_are():
    class Silent(LeftHalfMoves):
        def between(self, before, after):
            return None

    assert_array_equal(by_flow(Silent(), window().pictures, window().before)[0], window().before)


def test_the_box_head_looks_where_it_was_or_where_the_velocity_says():
    down = np.array([0, 1, 0, 1])
    assert_array_equal(by_head(OnePixelDown(), window(2), at_velocity=False)[0], window(2).before + down)
    assert_array_equal(by_head(OnePixelDown(), window(2), at_velocity=True)[0], window(2).after + down)


def test_overlap_and_distance_by_hand():
    # 10 x 20 px off by 5 px: 100 shared of 200 + 200 - 100. The centre is off by 5 px of a height of 20.
    found = Found()
    found.add(np.stack([WALK + [5, 0, 5, 0], REST]), np.stack([WALK, REST]), 4.0)
    assert_allclose(found.overlap, [1 / 3, 1])
    assert_allclose(found.off, [5 / 20, 0])
    found.add(WALK[None], WALK[None], 8.0)
    (line,) = lines_of("made", {(1, "still"): found})
    assert (line.clips, line.gap, line.way, line.people) == ("made", 1, "still", 3)
    assert line.boxes == pytest.approx(3 / 2) and line.ms == pytest.approx(6.0)
    assert line.iou == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert line.hits == pytest.approx(2 / 3) and line.off == pytest.approx(0.25 / 3)


def test_starts_are_even_and_leave_room_on_both_sides():
    assert starts_of(101, 10, 3) == [11, 51, 91]
    assert starts_of(21, 10, 5) == [11]
    assert starts_of(20, 10, 5) == [] and starts_of(0, 10, 5) == []
    assert starts_of(24, 10, 20) == [11, 12, 13, 14]


def test_only_who_is_labelled_in_both_frames_is_carried():
    people = people_of(Recording())
    assert sorted(people[1]) == [1] and sorted(people[3]) == [1, 2]  # the third is not to be scored
    seen = window_at(3, 2, [picture(n) for n in range(5)], people)
    assert len(seen.pictures) == 3
    assert_array_equal(seen.before, [WALK + 2 * MOVED, REST])
    assert_array_equal(seen.earlier, [WALK, np.full(4, np.nan)])
    assert_array_equal(seen.after, [WALK + 4 * MOVED, REST])
    assert len(window_at(1, 2, [], people).before) == 1  # the one who rests is not there yet
    assert window_at(90, 2, [], people).before.shape == (0, 4)


def test_windows_begin_at_the_frame_that_they_name_and_stop_when_all_are_shown():
    clip = Recording()
    found = [
        (gap, [int(p[0, 0, 0]) for p in w.pictures], len(w.before)) for gap, w in windows(clip, [1, 2], 2)
    ]
    # 7 frames and a gap of 2: from frame 3 and from frame 5. Pictures are numbered by their brightness.
    assert found == [(1, [3, 4], 2), (2, [3, 4, 5], 2), (1, [5, 6], 2), (2, [5, 6, 7], 2)]
    short = Recording()
    assert len(list(windows(short, [1], 1))) == 1 and short.shown == 3  # from frame 2 to frame 3


def test_a_short_clip_is_said_and_left_out(capsys: pytest.CaptureFixture[str]):
    assert list(windows(Recording(), [4], 2)) == []
    assert "left out: made: no more than 8 frames" in capsys.readouterr().err


def test_every_way_is_measured_at_every_gap():
    found = measure(windows(Recording(), [1, 2], 2), {"fake": LeftHalfMoves()}, OnePixelDown())
    assert {way for gap, way in found if gap == 1} == {"still", "velocity", "fake", "box", "box velocity"}
    assert {way for gap, way in found if gap == 2} == {*(way for gap, way in found if gap == 1), "fake steps"}
    assert np.mean(found[2, "fake"].overlap) == 1.0 == np.mean(found[1, "velocity"].overlap[2:])
    # Standing still over 2 frames, two people twice: one is 6 of 10 px off, 4 of 16 shared; the other is right.
    assert_allclose(found[2, "still"].overlap, [4 / 16, 1, 4 / 16, 1])


def test_more_frames_than_are_followed_one_by_one():
    assert "fake steps" not in ways({"fake": LeftHalfMoves()}, None, box_carrying.MOST_STEPS + 1)


def test_what_is_not_there_is_said_and_left_out(capsys: pytest.CaptureFixture[str]):
    found = estimators_named(["dis", "dis@64", "dis@wide", "nothing", "nowhere.onnx"])
    assert list(found) == ["dis", "dis@64"]
    assert found["dis@64"].reduce(picture()).picture.shape == (38, 64)
    said = capsys.readouterr().err
    assert all(f"left out: {name}" in said for name in ("dis@wide", "nothing", "nowhere.onnx"))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(box_carrying, "demo_clips", lambda: [Recording()])
    monkeypatch.delenv("THROUGHLINE_DATA", raising=False)
    arguments = ["--flow", "none", "--box", str(tmp_path / "no.onnx"), "--gaps", "2", "--starts", "2"]
    assert main([*arguments, "--json", str(tmp_path / "said.json")]) == 0
    told = capsys.readouterr()
    assert "mot: left out" in told.err and "left out: box head" in told.err
    rows = [line.split() for line in told.out.splitlines()[1:]]
    assert [row[2] for row in rows] == ["still", "velocity", "none", "none"]
    still = rows[0]
    assert still[3:7] == ["4", "2.0", "0.625", "50.0%"]  # (4/16 + 1) / 2
    said = json.loads((tmp_path / "said.json").read_text())
    assert [line["way"] for line in said["lines"]] == ["still", "velocity", "none", "none steps"]
    assert said["clips"][0]["clips"] == "made" and said["lines"][0]["iou"] == 0.625
    monkeypatch.setattr(box_carrying, "demo_clips", list)
    assert main(arguments) == 1  # nothing to measure


def test_gaps_begin_at_one(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--gaps", "0"])
    assert "1 or more" in capsys.readouterr().err
