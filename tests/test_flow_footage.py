"""Frames of files that become pairs."""

import cv2
import numpy as np
import pytest

from flow.footage import Footage, read_footage


def clip(count, *, step=2, seed=0, height=40, width=70):
    """A texture that moves ``step`` px a frame."""
    rng = np.random.default_rng(seed)
    world = cv2.GaussianBlur(rng.integers(0, 256, (height, width + step * count, 3), np.uint8), (0, 0), 1.5)
    world = cv2.normalize(world, None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([world[:, step * n : step * n + width] for n in range(count)])


def test_pairs_are_so_many_frames_apart():
    footage = Footage([clip(8)], 32, 48, gaps=(1, 3))
    assert len(footage) == 7 + 5 and footage.frames == 8
    before, after = footage.draw(20, np.random.default_rng(0))
    assert before.shape == after.shape == (20, 32, 48, 3)
    for first, second in zip(before, after):
        # 2 or 6 px to the left, or to the right where it is mirrored: one of four shifts fits exactly.
        fits = [np.array_equal(first[:, s:], second[:, :-s]) for s in (2, 6)]
        fits += [np.array_equal(first[:, :-s], second[:, s:]) for s in (2, 6)]
        assert sum(fits) == 1


def test_the_same_seed_draws_the_same():
    footage = Footage([clip(8)], 32, 48)
    one, again = (footage.draw(3, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one, again)


def test_pairs_across_a_cut_and_black_ones_are_left_out():
    black = np.zeros((3, 40, 70, 3), np.uint8)
    ramp = np.linspace(0, 255, 70).astype(np.uint8)[None, None, :, None]
    scenes = [np.broadcast_to(side, (3, 40, 70, 3)) for side in (ramp, ramp[:, :, ::-1])]
    footage = Footage([np.concatenate([scenes[0], black, scenes[1]])], 32, 48, gaps=(1,))
    assert len(footage) == 2 + 2
    with pytest.raises(ValueError, match="no two frames"):
        Footage([black], 32, 48)
    with pytest.raises(ValueError, match="no two frames"):
        Footage([clip(3)[:1]], 32, 48)


def test_where_something_moves_more_is_drawn():
    still = np.repeat(clip(1), 20, axis=0)
    footage = Footage([still, clip(20)], 32, 48, gaps=(1,))
    before, after = footage.draw(200, np.random.default_rng(0))
    moving = [not np.array_equal(a, b) for a, b in zip(before, after)]
    # Half of the pairs stand still and weigh 0.1 of the mean; the others, 2 of the mean, weigh 2.1: 95 % of the draws.
    assert 0.88 < np.mean(moving) < 1.0


def test_footage_is_read_from_videos_and_folders(tmp_path):
    frames = clip(12, height=80, width=120)
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (120, 80))
    folder = tmp_path / "b"
    folder.mkdir()
    for n, frame in enumerate(frames):
        writer.write(frame)
        cv2.imwrite(str(folder / f"{n:03}.png"), frame)
    writer.release()
    footage = read_footage([tmp_path / "a.avi", folder], 32, 64, gaps=(1, 2))
    # 80x120 covers 32x64 at 0.533: 43x64.
    assert footage.frames == 24 and len(footage) == 2 * (11 + 10)
    assert footage.draw(2, np.random.default_rng(0))[0].shape == (2, 32, 64, 3)


def test_of_long_footage_blocks_are_kept(tmp_path):
    for n, frame in enumerate(clip(60)):
        cv2.imwrite(str(tmp_path / f"{n:03}.png"), frame)
    # At most 30 of 60 frames: every second block of 24, which is 0..23 and 48..53, where 30 are full.
    footage = read_footage([tmp_path], 40, 70, gaps=(1,), most=30)
    assert footage.frames == 30 and len(footage) == 23 + 5


def test_footage_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    for paths, error, said in [
        ([], ValueError, "no footage"),
        ([tmp_path / "b.mp4"], FileNotFoundError, "b.mp4"),
        ([tmp_path / "empty"], ValueError, "no frame"),
        ([tmp_path / "a.mp4"], ValueError, "a.mp4"),
    ]:
        with pytest.raises(error, match=said):
            read_footage(paths, 32, 48)
    with pytest.raises(ValueError, match="gaps"):
        Footage([clip(3)], 32, 48, gaps=(0,))
    with pytest.raises(ValueError, match="at least 80x32"):
        Footage([clip(3)], 32, 80)
