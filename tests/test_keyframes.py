"""When the detector looks: a table of reasons, and laws over long made-up runs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tracker.config import KeyframeSettings
from tracker.core.keyframes import UNSURE, Outlook, is_due

CALM = Outlook()


def gap(every: int, outlook: Outlook, *, adaptive: bool = True) -> int:
    """Frames to the next keyframe under an outlook that stays as it is."""
    settings = KeyframeSettings(every=every, adaptive=adaptive)
    return next(n for n in itertools.count(1) if is_due(settings, n, outlook))


@pytest.mark.parametrize(
    ("outlook", "frames"),
    [
        (CALM, 6),
        (Outlook(is_crowded=True), 3),  # 6 / 2
        (Outlook(has_new=True), 2),  # 6 / 3
        (Outlook(has_missed=True), 2),
        (Outlook(is_crowded=True, has_new=True), 2),  # the strongest reason counts
        (Outlook(is_crowded=True, has_missed=True), 2),
        (Outlook(spread=UNSURE), 6),  # just sure enough
        (Outlook(spread=UNSURE + 1e-6), 1),
        (Outlook(is_crowded=True, spread=1.0), 1),
    ],
)
def test_of_six_frames_an_adaptive_camera_looks_at_so_many(outlook, frames):
    assert gap(6, outlook) == frames
    assert gap(6, outlook, adaptive=False) == 6


def test_shares_are_rounded_up_to_whole_frames():
    for every in range(1, 101):
        assert gap(every, Outlook(is_crowded=True)) == -(-every // 2)
        assert gap(every, Outlook(has_new=True)) == -(-every // 3)
        assert gap(every, CALM) == every


def random_outlook(rng: np.random.Generator) -> Outlook:
    crowded, new, missed = (bool(v) for v in rng.uniform(size=3) < 0.2)
    return Outlook(is_crowded=crowded, has_new=new, has_missed=missed, spread=float(rng.uniform(0, 0.3)))


def keyframes(settings: KeyframeSettings, seed: int, frames: int = 300) -> list[int]:
    """Frame numbers of the keyframes of a run, the first frame being one."""
    rng, keys = np.random.default_rng(seed), [0]
    for n in range(1, frames):
        if is_due(settings, n - keys[-1], random_outlook(rng)):
            keys.append(n)
    return keys


@pytest.mark.parametrize("every", [1, 2, 3, 7, 20])
def test_the_longest_gap_is_never_exceeded_whatever_happens(every):
    fixed = keyframes(KeyframeSettings(every=every), 1)
    assert set(np.diff(fixed).tolist()) == {every}
    for seed in range(5):
        adaptive = keyframes(KeyframeSettings(every=every, adaptive=True), seed)
        assert max(np.diff(adaptive)) <= every
        assert len(adaptive) >= len(fixed)  # adaptive never looks less often
        assert adaptive == keyframes(KeyframeSettings(every=every, adaptive=True), seed)


def test_what_is_due_stays_due_and_one_more_reason_never_delays():
    rng = np.random.default_rng(2)
    for _ in range(500):
        settings = KeyframeSettings(every=int(rng.integers(1, 30)), adaptive=bool(rng.integers(2)))
        since, outlook = int(rng.integers(1, 30)), random_outlook(rng)
        if is_due(settings, since, outlook):
            assert is_due(settings, since + 1, outlook)
            worse = Outlook(
                is_crowded=True, has_new=True, has_missed=outlook.has_missed, spread=outlook.spread
            )
            assert is_due(settings, since, worse)
