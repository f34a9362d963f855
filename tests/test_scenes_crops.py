"""Crops: who is seen where, boxes as a detector gives them, and parts that make a whole."""

import argparse
import zipfile
from collections import Counter

import cv2
import numpy as np
import pytest

from reid import datasets
from scenes import crops, settings
from scenes.camera import Camera
from scenes.crops import TOGETHER, CropsError, Plan, Spots, covered, cut, detected, passing
from scenes.records import STANDING
from scenes.render import RenderError


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_everybody_is_in_one_part_and_seen_by_different_cameras():
    plan = Plan(people=4 * TOGETHER + 4, cameras=6, pool=20)
    assert plan.parts == 5
    assert [person for part in range(5) for person in plan.members(part)] == list(range(1, plan.people + 1))
    for part in range(5):
        stations = plan.stations(part)
        assert len(set(stations)) == 6
        assert set(stations) <= set(range(1, 21))
    assert plan.stations(0) != plan.stations(1)


def test_no_camera_tells_who_somebody_is():
    plan = Plan(people=3000, cameras=6, pool=240)
    seen = Counter(station for part in range(plan.parts) for station in plan.stations(part))
    people = np.array([count * TOGETHER for count in seen.values()])
    assert people.sum() / 240 == pytest.approx(3000 * 6 / 240, rel=0.01)  # 75 people in the mean
    assert people.min() >= TOGETHER


def test_chance_is_of_the_seed_the_word_and_the_numbers():
    draws = [
        Plan(seed=seed).chance(word, number).random()
        for seed in (0, 1)
        for word in ("look", "site")
        for number in (1, 2)
    ]
    assert len(set(draws)) == 8
    assert Plan().chance("site", 3).random() == Plan().chance("site", 3).random()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"people": 0}, "at least 1"), ({"cameras": 9, "pool": 8}, "larger --pool"), ({"width": 8}, "16x16")],
)
def test_what_cannot_be_is_said(wrong, said):
    with pytest.raises(CropsError, match=said):
        Plan(**wrong)


def test_sites_can_be_and_differ(rng):
    sites = [crops.draw_site(rng) for _ in range(30)]  # the settings check themselves
    assert len({site.cameras["camera"].at for site in sites}) == 30
    assert {site.light.kind for site in sites} == {"day", "dusk", "indoor"}


class EmptyPlace:
    def is_free(self, xy_m, radius):
        return np.ones(len(xy_m), bool)


@pytest.fixture
def spots(rng):
    camera = settings.Camera(at=(5, 0.3, 4), look=(5, 9, 1), size=(640, 480))
    area = settings.Area(x=(0, 10), y=(0, 20))
    return Spots.of(EmptyPlace(), Camera.of("a", camera, rng), area, rng)


def test_spots_are_in_the_picture_and_tall_enough(spots):
    assert len(spots.xy_m) > 100
    tall = spots.boxes[:, 3] - spots.boxes[:, 1]
    assert (tall > crops.HEIGHTS_PX[0]).all() and (tall < crops.HEIGHTS_PX[1]).all()
    assert (spots.boxes[:, :2] > 0).all() and (spots.boxes[:, 2] < 640).all()
    assert (spots.boxes[:, 3] < 480 + 0.1 * tall).all()


def test_people_of_a_frame_cover_each_other_no_more_than_allowed(spots, rng):
    for overlap in (0.0, 0.3, 0.65):
        rows = spots.draw(5, overlap, rng)
        assert 2 <= len(rows) <= 5
        worst = max(covered(spots.boxes[a], spots.boxes[b]) for i, a in enumerate(rows) for b in rows[:i])
        assert worst <= overlap


def test_a_place_without_room_has_no_spots(rng):
    camera = settings.Camera(at=(5, 0.3, 4), look=(5, -9, 1))  # looks away
    spots = Spots.of(EmptyPlace(), Camera.of("a", camera, rng), settings.Area(x=(0, 10), y=(1, 20)), rng)
    assert spots.xy_m.shape == (0, 2)
    assert len(spots.draw(3, 0.5, rng)) == 0


def test_how_much_boxes_cover_each_other():
    small, large = np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 5, 4])
    assert covered(small, large) == covered(large, small) == pytest.approx(2 / 4)  # 1 x 2 of 2 x 2
    assert covered(small, small + 2) == 0  # they touch


def test_a_detected_box_is_about_right(rng):
    box = np.array([100, 50, 150, 200])
    found = np.array([detected(box, rng) for _ in range(500)])
    assert (found[:, 0] < found[:, 2]).all() and (found[:, 1] < found[:, 3]).all()
    assert np.median(found[:, [1, 3]], axis=0) == pytest.approx([50, 200], abs=6)
    shape = (found[:, 2] - found[:, 0]) / (found[:, 3] - found[:, 1])
    assert 0.3 < np.quantile(shape, 0.05) < np.quantile(shape, 0.95) < 0.7  # the silhouette's is 1 / 3


def test_a_cut_is_what_the_box_holds():
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:60, 30:50] = (10, 200, 30)
    held = cut(image, np.array([30.2, 19.8, 49.9, 60.3]), (16, 32))
    assert held is not None and np.abs(held.astype(int) - (10, 200, 30)).max() <= 3  # JPEG rounds
    inside = cut(image, np.array([80.0, 0, 130, 120]), (16, 32))
    assert inside is not None and inside.shape == (32, 16, 3)
    assert cut(image, np.array([97.0, 0, 130, 100]), (16, 32)) is None  # 3 px of it are in the picture


def test_exposure_brings_the_floor_to_its_level(spots):
    dark = np.full((480, 640, 3), 60, np.uint8)
    levels = crops.exposed(dark, spots, 120.0)
    assert levels[60] == 120  # twice as bright
    assert (np.diff(levels.astype(int)) >= 0).all()
    assert crops.exposed(dark, spots, 60.0)[:178].tolist() == list(
        range(178)
    )  # below 0.7 x 255 nothing changes


def test_who_passes_a_place_is_there_at_the_moment(rng):
    xy_m = np.array([3.0, 4.0])
    for _ in range(20):
        path, moment = passing(xy_m, rng)
        there = [np.interp(moment, path.t_s, path.xy_m[:, axis]) for axis in (0, 1)]
        assert there == pytest.approx(xy_m)
        speed = np.hypot(*np.diff(path.xy_m, axis=0).T) * crops.RATE_HZ
        expected = (0.0, 0.0) if path.activity[0] == STANDING else (0.8, 1.6)
        assert expected[0] - 1e-9 <= speed.min() <= speed.max() <= expected[1] + 1e-9


def painted_part(plan, part, folder):
    """In the place of `crops.make_part`: everybody in a grey of their own."""
    with zipfile.ZipFile(folder / f"{part:05d}.zip", "w") as archive:
        for person in plan.members(part):
            for station in plan.stations(part):
                picture = np.full((plan.height, plan.width, 3), person, np.uint8)
                archive.writestr(
                    f"{person:04d}_c{station}_000001.jpg", cv2.imencode(".jpg", picture)[1].tobytes()
                )


@pytest.fixture
def painted(monkeypatch):
    made = []

    def make_part(plan, part, folder):
        made.append(part)
        painted_part(plan, part, folder)

    monkeypatch.setattr(crops, "make_part", make_part)
    return made


def test_the_whole_is_a_set_that_training_reads(tmp_path, painted):
    plan = Plan(people=TOGETHER + 6, cameras=2, pictures=1, pool=4)
    assert list(crops.make(plan, tmp_path / "all.zip", processes=1)) == [0, TOGETHER, TOGETHER + 6]
    pictures = datasets.read(tmp_path / "all.zip")
    assert len(pictures) == 2 * plan.people
    assert pictures.identities().tolist() == list(range(1, plan.people + 1))
    assert (np.abs(pictures.crops[:, 0, 0, 0].astype(int) - pictures.ids) <= 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]


def test_a_stopped_call_goes_on(tmp_path, painted):
    plan = Plan(people=3 * TOGETHER, cameras=1, pool=4)
    making = crops.make(plan, tmp_path / "all", processes=1)
    assert [next(making), next(making)] == [0, TOGETHER]
    making.close()
    assert list(crops.make(plan, tmp_path / "all", processes=1)) == [TOGETHER, 2 * TOGETHER, 3 * TOGETHER]
    assert painted == [0, 1, 2]
    assert len(list((tmp_path / "all").iterdir())) == plan.people * plan.cameras


def test_parts_of_other_settings_are_not_mixed(tmp_path, painted):
    next(crops.make(Plan(people=30), tmp_path / "all.zip"))
    with pytest.raises(CropsError, match="other settings"):
        next(crops.make(Plan(people=30, seed=1), tmp_path / "all.zip"))
    (tmp_path / "all.zip").touch()
    with pytest.raises(CropsError, match="there already"):
        next(crops.make(Plan(people=30), tmp_path / "all.zip"))


def test_the_verb(tmp_path, painted):
    parser = argparse.ArgumentParser()
    crops.add_options(parser)
    out = str(tmp_path / "all.zip")
    asked = parser.parse_args(
        ["-o", out, "--people", "3", "--cameras", "1", "--size", "32x80", "--processes", "1"]
    )
    assert crops.run(asked) == 0
    assert datasets.read(tmp_path / "all.zip", size=(80, 32)).crops.shape == (3, 80, 32, 3)
    with pytest.raises(CropsError, match="WIDTHxHEIGHT"):
        crops.run(parser.parse_args(["-o", out, "--size", "large"]))


def test_a_rendered_part_shows_everybody(tmp_path):
    plan = Plan(people=3, cameras=1, pictures=1, pool=1)
    try:
        made = crops.make_part(plan, 0, tmp_path)
    except RenderError as reason:
        pytest.skip(str(reason))
    pictures = datasets.read(tmp_path / "00000.zip")
    assert made == len(pictures) == 3
    assert pictures.crops.std(axis=(1, 2, 3)).min() > 5  # something is on each
