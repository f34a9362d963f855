"""Clips replayed with remembered networks: what is asked once, what is counted, what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.flow_tracking import keyframe_variants, lines_of
from benchmarks.replay import CAMERA, Clip, Prices, Remembered, SharedMotion, Variant, Work, replay, score
from tracker.types import Detections

FRAMES, SIZE = 12, (96, 160)


class OneWalker:
    """A network that finds a white bar, and embeds everything alike; it counts what it is asked."""

    model_hash = "walker"

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, images: Any) -> list[Detections]:
        self.asked += 1
        left = int(np.flatnonzero(images[0][48, :, 0] > 128)[0])
        return [Detections.of(np.array([[left, 20, left + 20, 80]], np.float32), np.array([0.9], np.float32))]

    def embed(self, crops: Any) -> np.ndarray:
        self.asked += 1
        return np.tile(np.eye(1, 8, dtype=np.float32), (len(crops), 1))


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Somebody walks 4 px a frame to the right, at 10 frames/s."""
    rows = []
    for n in range(FRAMES):
        picture = np.zeros((*SIZE, 3), np.uint8)
        picture[20:80, 10 + 4 * n : 30 + 4 * n] = 255
        cv2.imwrite(str(tmp_path / f"{n:06d}.png"), picture)
        rows.append(f"{n + 1},1,{10 + 4 * n},20,20,60,1")
    truth = tmp_path / "truth.txt"
    truth.write_text("\n".join(rows), encoding="ascii")
    return Clip("walk", "made", str(tmp_path / "*.png"), truth, fps=10.0)


@pytest.fixture
def walker(monkeypatch: pytest.MonkeyPatch) -> OneWalker:
    networks = OneWalker()
    monkeypatch.setattr("benchmarks.replay.build_detector", lambda _: networks)
    monkeypatch.setattr("benchmarks.replay.build_embedder", lambda _: networks)
    return networks


def test_networks_are_asked_once_for_all_variants_and_runs(clip: Clip, walker: OneWalker, tmp_path: Path):
    variants = [Variant("all", "none"), Variant("half", "none", step=2)]
    told = replay(clip, variants, {}, tmp_path / "work")
    asked = walker.asked
    assert asked <= 2 * FRAMES  # a picture, and at most one crop of it, each once
    assert [one.work.detected for one in told] == [FRAMES, FRAMES // 2]
    again = replay(clip, variants, {}, tmp_path / "work")
    assert walker.asked == asked  # from the file
    assert again[0].final.boxes.tolist() == told[0].final.boxes.tolist()


def test_only_frames_that_were_shown_are_scored(clip: Clip, walker: OneWalker, tmp_path: Path):
    pytest.importorskip("trackeval")
    (told,) = replay(clip, [Variant("fourth", "none", step=4)], {}, tmp_path / "work")
    assert told.seen == [1, 5, 9]
    cameras, _ = score([told], is_live=False)
    # Of 3 boxes of truth, all are found, the first ones once the track is confirmed and the rest is filled in.
    assert cameras["walk"].false_negatives == 0 and cameras["walk"].persons == 1


def test_between_keyframes_nothing_is_asked_and_boxes_are_told(clip: Clip, walker: OneWalker, tmp_path: Path):
    keyframes = {"keyframes": {"every": 3}}
    (told,) = replay(clip, [Variant("third", "none", settings=keyframes)], {}, tmp_path / "work")
    assert told.work.detected == FRAMES // 3
    assert set(told.final.frames.tolist()) == set(range(1, FRAMES + 1))


def test_what_was_asked_is_priced():
    prices = Prices(
        decode=2.0, detect=10.0, embed_call=1.0, embed_crop=0.5, reduce={"dis": 0.2}, between={"dis": 1.5}
    )
    work = Work(frames=4, detected=2, embed_calls=2, crops=6, reduced=4, fields=3)
    spent = prices.networks_ms(work, "dis")
    assert spent["detect"] == pytest.approx(10 * 2 / 4)
    assert spent["embed"] == pytest.approx((1 * 2 + 0.5 * 6) / 4)
    assert spent["flow"] == pytest.approx((0.2 * 4 + 1.5 * 3) / 4)
    assert prices.networks_ms(work, "none")["flow"] == 0


def test_flow_works_once_for_the_same_two_pictures():
    class Estimator:
        runs = 0

        def reduce(self, image: Any) -> Any:
            return [image]

        def between(self, before: Any, after: Any) -> int:
            self.runs += 1
            return self.runs

    shared = SharedMotion(Estimator())
    first, second = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    before = shared.reduce(first)
    after = shared.reduce(second)
    assert shared.reduce(second) is after
    assert shared.between(before, after) == shared.between(before, after) == 1


def test_some_boxes_are_missed_by_seed_alone(clip: Clip, walker: OneWalker, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr("benchmarks.replay.MISSED_SHARE", 0.5)
    variants = [Variant("a", "none", seed=1), Variant("b", "none", seed=1), Variant("c", "none", seed=2)]
    told = replay(clip, variants, {}, tmp_path / "work")
    rows = [one.live.frames.tolist() for one in told]
    assert rows[0] == rows[1] != rows[2]


def test_a_variants_seeds_are_one_line(clip: Clip, walker: OneWalker, tmp_path: Path):
    pytest.importorskip("trackeval")
    told = replay(clip, [Variant("a", "none", seed=n) for n in (1, 2)], {}, tmp_path / "work")
    (line,) = lines_of("made", told, {})
    assert (line.variant, line.group) == ("a", "made") and 0 <= line.figures["IDF1 final"] <= 100


def test_every_keyframe_variant_is_a_site(clip: Clip):
    for variant in keyframe_variants(["none", "dis"]):
        assert CAMERA in variant.site(clip).cameras


def test_a_file_that_is_not_there_is_an_empty_memory(clip: Clip, walker: OneWalker, tmp_path: Path):
    networks = Remembered(tmp_path / "new.npz", Variant("x").site(clip))
    networks.save()
    assert not (tmp_path / "new.npz").exists()  # nothing was asked
