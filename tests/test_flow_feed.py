"""Batches for training: columns stay together, mirrors tell the truth, and strangers have no weight."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from flow import feed  # noqa: E402
from flow.correlation import warp  # noqa: E402
from flow.feed import GREY, PEOPLE_WEIGHT, Feed  # noqa: E402
from flow.packs import write_pack  # noqa: E402
from flow.pairs import Drawer, Pair  # noqa: E402

HEIGHT, WIDTH = 32, 48


class Numbered:
    """Draws pairs that can be told apart: number n goes n px to the right and is painted 2 n, then 2 n + 1.

    Its left half is a person.
    """

    def __init__(self, rng=None):
        self.drawn = 0

    def draw(self, height, width):
        self.drawn += 1
        flow, people = np.zeros((height, width, 2), np.float32), np.zeros((height, width), np.uint8)
        flow[..., 0], people[:, : width // 2] = self.drawn, 1
        before, after = (np.full((height, width, 3), (2 * self.drawn + n) % 256, np.uint8) for n in (0, 1))
        return Pair(before, after, flow, np.zeros((height, width), bool), people)


@pytest.fixture
def numbered(monkeypatch):
    """Pairs of numbers, in the light they were drawn in, and no strangers."""
    drawers = []

    def make(rng):
        drawers.append(Numbered())
        return drawers[-1]

    monkeypatch.setattr(feed, "Drawer", make)
    monkeypatch.setattr(feed, "_lit", lambda pictures, rng: pictures)
    monkeypatch.setattr(feed, "STRANGERS", 0.0)
    monkeypatch.setattr(feed, "BLACK", 0.0)
    return drawers


def fed(seed=0, **changed):
    return Feed(HEIGHT, WIDTH, np.random.default_rng(seed), **({"kept": 12} | changed))


def numbers(batch):
    """Which pair each row is, by its flow."""
    return batch.flow[:, 0, 0, 0].abs().round().int().tolist()


def levels(pictures):
    """The one colour of each picture (N, C, H, W), 0 to 255; -1 where it has several."""
    bytes_ = (pictures * 255.0).round().int().flatten(1)
    return [int(row[0]) if (row == row[0]).all() else -1 for row in bytes_]


# --- what a batch is


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_what_a_network_takes(channels, monkeypatch):
    monkeypatch.setattr(feed, "Drawer", partial(Drawer, textures=4))
    batch = fed(kept=4).batch(3, channels)
    assert batch.before.shape == batch.after.shape == (3, channels, HEIGHT, WIDTH)
    assert batch.flow.shape == (3, 2, HEIGHT, WIDTH) and batch.weight.shape == (3, 1, HEIGHT, WIDTH)
    assert all(part.dtype == torch.float32 and part.isfinite().all() for part in batch)
    for pictures in batch[:2]:
        assert pictures.min() >= 0.0 and pictures.max() <= 1.0 and pictures.std() > 0.02
    assert set(batch.weight.unique().tolist()) <= {0.0, 1.0, PEOPLE_WEIGHT}


def test_the_seed_decides_and_another_decides_otherwise(monkeypatch):
    monkeypatch.setattr(feed, "Drawer", partial(Drawer, textures=4))
    one, again, other = (fed(seed, kept=4, shown=2.0) for seed in (0, 0, 1))
    for _ in range(3):
        first, second, third = (feeding.batch(2, 1) for feeding in (one, again, other))
        assert all(torch.equal(a, b) for a, b in zip(first, second))
        assert not torch.equal(first.before, third.before)


def test_columns_of_a_pair_stay_together(numbered):
    feeding = fed(shown=2.0)
    for _ in range(20):
        batch = feeding.batch(5, 3)
        found = numbers(batch)
        assert len(set(found)) == 5  # nobody twice in a batch
        assert levels(batch.before) == [2 * n for n in found]
        assert levels(batch.after) == [2 * n + 1 for n in found]


def test_people_weigh_more(numbered):
    weight = fed().batch(4, 1).weight
    # Half of each picture is somebody; whether it is the left one depends on the mirror.
    halves = weight[..., : WIDTH // 2], weight[..., WIDTH // 2 :]
    assert sorted(half.mean().item() for half in halves) == [1.0, PEOPLE_WEIGHT]


def test_grey_is_what_opencv_makes_of_colours(numbered, monkeypatch):
    colours = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)

    class Coloured(Numbered):
        def draw(self, height, width):
            pair = super().draw(height, width)
            return Pair(colours, colours, pair.flow * 0, pair.hidden, pair.people)

    monkeypatch.setattr(feed, "Drawer", Coloured)
    grey = fed().batch(1, 1).before[0, 0].numpy() * 255.0
    expected = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY).astype(float)
    as_seen = [expected[::up, ::left] for up in (1, -1) for left in (1, -1)]
    assert min(np.abs(grey - one).max() for one in as_seen) <= 0.6  # OpenCV rounds to whole levels
    assert sum(GREY) == pytest.approx(1.0)


# --- mirrors


def moved(dx, dy):
    """A batch of blobs that go by whole pixels."""
    world = torch.rand((1, 3, HEIGHT + 20, WIDTH + 20), generator=torch.Generator().manual_seed(0))
    before = world[..., 10 : 10 + HEIGHT, 10 : 10 + WIDTH]
    after = world[..., 10 - dy : 10 - dy + HEIGHT, 10 - dx : 10 - dx + WIDTH]
    flow = torch.tensor([float(dx), float(dy)])[None, :, None, None].expand(1, 2, HEIGHT, WIDTH).clone()
    return feed.Batch(before, after, flow, torch.ones(1, 1, HEIGHT, WIDTH))


@pytest.mark.parametrize(("axis", "expected"), [(3, (-5.0, 3.0)), (2, (5.0, -3.0))])
def test_a_mirrored_pair_still_goes_where_its_flow_says(axis, expected):
    mirrored = feed._mirrored(moved(5, 3), axis)
    assert tuple(mirrored.flow[0, :, 0, 0].tolist()) == expected
    assert torch.equal(mirrored.before, moved(5, 3).before.flip(axis))
    seen = warp(mirrored.after, mirrored.flow)[..., 6:-6, 6:-6]
    assert torch.allclose(seen, mirrored.before[..., 6:-6, 6:-6], atol=1e-3)


@pytest.mark.parametrize("axis", [2, 3])
def test_mirrored_twice_is_as_before(axis):
    twice = feed._mirrored(feed._mirrored(moved(5, 3), axis), axis)
    assert all(torch.equal(part, other) for part, other in zip(twice, moved(5, 3)))


def test_each_mirror_is_shown_half_of_the_time(numbered):
    feeding = fed(shown=1e9)
    turned = [feeding.batch(1, 1).flow[0, 0, 0, 0].item() < 0 for _ in range(200)]
    # Twice the deviation of 200 throws is 2 sqrt(200) / 2 = 14.
    assert abs(sum(turned) - 100) < 20


# --- strangers and black pictures


def test_a_stranger_is_another_pair_s_second_picture_and_has_no_weight(numbered, monkeypatch):
    monkeypatch.setattr(feed, "STRANGERS", 1.0)
    batch = fed().batch(5, 3)
    found = numbers(batch)
    assert levels(batch.before) == [2 * n for n in found]
    # The next row's, as it was before that one got a stranger's in turn.
    assert levels(batch.after) == [2 * n + 1 for n in (*found[1:], found[0])]
    assert not batch.weight.any()


def test_one_alone_has_no_stranger(numbered, monkeypatch):
    monkeypatch.setattr(feed, "STRANGERS", 1.0)
    batch = fed().batch(1, 3)
    assert levels(batch.after) == [2 * numbers(batch)[0] + 1] and batch.weight.min() == 1.0


def test_a_picture_of_one_grey_has_no_weight(numbered, monkeypatch):
    monkeypatch.setattr(feed, "BLACK", 1.0)
    feeding, seen = fed(), []
    for _ in range(20):
        batch = feeding.batch(6, 3)
        assert not batch.weight.any() and levels(batch.before) == [2 * n for n in numbers(batch)]
        seen += levels(batch.after)
    assert -1 not in seen and {0, 255} < set(seen)  # black, white, and something between


def test_few_pairs_are_strangers(numbered, monkeypatch):
    monkeypatch.setattr(feed, "STRANGERS", 0.02)
    monkeypatch.setattr(feed, "BLACK", 0.01)
    feeding = fed(kept=50, shown=1e9)
    weightless = sum(int((feeding.batch(50, 1).weight.amax((1, 2, 3)) == 0).sum()) for _ in range(40))
    # 3 % of 2000, give or take three deviations: 60 +- 3 sqrt(2000 * 0.03 * 0.97) = 60 +- 23.
    assert 37 <= weightless <= 83


def test_what_is_kept_does_not_become_strange(numbered, monkeypatch):
    monkeypatch.setattr(feed, "BLACK", 1.0)
    feeding = fed(shown=1e9)
    feeding.batch(12, 3)
    monkeypatch.setattr(feed, "BLACK", 0.0)
    batch = feeding.batch(12, 3)
    assert levels(batch.after) == [2 * n + 1 for n in numbers(batch)] and batch.weight.min() == 1.0


# --- light


def test_light_keeps_colours_in_range_and_is_nearly_one_for_both():
    picture = torch.rand((1, 40, 3, 4, 4), generator=torch.Generator().manual_seed(0)).expand(
        2, -1, -1, -1, -1
    )
    lit = feed._lit(picture, np.random.default_rng(0))
    assert lit.min() >= 0.0 and lit.max() <= 1.0
    within, among = (lit[0] - lit[1]).abs().mean(), (lit[0] - picture[0]).abs().mean()
    assert 0.0 < within < 0.4 * among  # 0.15 of the spread to each side


# --- old pairs go, new pairs come


@pytest.mark.parametrize(("shown", "expected"), [(1.0, 6), (2.0, 3), (4.0, 1.5), (6.0, 1)])
def test_a_pair_is_shown_so_often_on_average(numbered, shown, expected):
    feeding = fed(shown=shown)
    (drawer,) = numbered
    assert drawer.drawn == 12
    for _ in range(10):
        feeding.batch(6, 1)
    assert drawer.drawn == 12 + 10 * expected


def test_only_what_was_shown_makes_room(numbered):
    feeding = fed(shown=1.0)
    first = set(numbers(feeding.batch(6, 1)))
    second = set(numbers(feeding.batch(12, 1)))
    assert second == set(range(1, 13)) - first | set(range(13, 19))


# --- packs


@pytest.fixture
def near(numbered, monkeypatch):
    """All that is drawn goes 1 px."""

    class Near(Numbered):
        def draw(self, height, width):
            self.drawn = 0
            return super().draw(height, width)

    monkeypatch.setattr(feed, "Drawer", Near)


def pack(folder, start, count=2):
    """Pairs that go ``start`` px and more, and so can be told from drawn ones."""
    drawer = Numbered()
    drawer.drawn = start
    write_pack(folder, (drawer.draw(HEIGHT + 8, WIDTH + 8) for _ in range(count)), count)
    return folder


def far(batch):
    """Rows that are from a pack beginning at 100 px, though zoomed by 1.2 at most and shaken."""
    return (batch.flow[:, 0].abs().amax((1, 2)) > 60.0).int().sum().item()


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 30, 70), (1.0, 100, 100)])
def test_a_share_of_new_pairs_comes_from_packs(near, tmp_path, share, least, most):
    feeding = fed(kept=100, packs=(pack(tmp_path, 100),), pack_share=share)
    assert least <= far(feeding.batch(100, 1)) <= most  # 50 +- 4 deviations of 5 each


def test_a_folder_of_packs_is_looked_through_and_unfinished_ones_are_left(near, tmp_path: Path):
    pack(tmp_path / "b", 200)
    pack(tmp_path / "a", 100)
    (pack(tmp_path / "c", 300) / "info.json").unlink()
    found = numbers_of_packs(fed(kept=40, packs=(tmp_path,), pack_share=1.0))
    assert found == {100, 200}


def numbers_of_packs(feeding):
    """Of which hundreds the kept pairs are: a zoom of 0.87 to 1.3 around 101 and 201 px, and a little shake."""
    flow = feeding.batch(40, 1).flow[:, 0].abs().flatten(1).median(dim=1).values
    return {100 if x < 145 else 200 for x in flow.tolist() if x > 60}


@pytest.mark.parametrize("start", ["empty", "one"])
def test_packs_that_are_finished_later_are_found(near, tmp_path: Path, monkeypatch, start):
    """Who began with an empty folder used to draw for ever."""
    monkeypatch.setattr(feed, "LOOK_AGAIN", 0.1)
    if start == "one":
        pack(tmp_path / "a", 100)
    feeding = fed(kept=40, packs=(tmp_path,), pack_share=1.0, shown=1.0)
    assert 200 not in numbers_of_packs(feeding)
    pack(tmp_path / "b", 200)
    for _ in range(3):
        feeding.batch(40, 1)
    assert 200 in numbers_of_packs(feeding)


def test_packs_that_are_taken_away_are_no_end(near, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(feed, "LOOK_AGAIN", 1.0)
    folder = pack(tmp_path / "a", 100)
    feeding = fed(packs=(tmp_path,), pack_share=1.0, shown=1.0)
    (folder / "info.json").unlink()
    feeding.batch(12, 1)
    assert far(feeding.batch(12, 1)) == 0
