"""Pairs of pictures with flow: who goes where, packs that go on, and flow that leads from one picture to the other."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from scenes import crops, pairs, settings
from scenes.__main__ import main
from scenes.camera import Camera
from scenes.look import CameraLook
from scenes.pairs import DrawnSite, Finish, PairsError, Plan, Shown, StagedSite, Way
from scenes.records import Picture, Truth
from scenes.render import RenderError

# --- the plan


def test_every_pair_is_in_one_block_and_no_block_in_two_packs():
    # 70 pairs in 2 packs of 35: blocks of 20 and 15 in each.
    blocks = Plan(pairs=70, parts=2).blocks()
    assert [(block.part, block.begin, block.first, block.end) for block in blocks] == [
        (0, 0, 0, 20),
        (0, 0, 20, 35),
        (1, 35, 35, 55),
        (1, 35, 55, 70),
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pairs": 0}, "at least 1"),
        ({"pairs": 3, "parts": 4}, "a pack has a pair"),
        ({"width": 481}, "even numbers"),
        ({"height": 32}, "from 64 on"),
        ({"gaps": (0, 1)}, "from 1 to 1000"),
        ({"gaps": ()}, "from 1 to 1000"),
    ],
)
def test_what_cannot_be_is_said(wrong, said):
    with pytest.raises(PairsError, match=said):
        Plan(**wrong)


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["pairs", "-o", str(tmp_path / "a"), "--size", "480"]) == 2
    assert "WIDTHxHEIGHT" in capsys.readouterr().err
    assert main(["pairs", "-o", str(tmp_path / "a"), "--sites", "none.yaml", "--pairs", "1"]) == 2
    assert "no such file" in capsys.readouterr().err


# --- ways


def way(**more: float) -> Way:
    said = {"passes_s": 0.5, "heading_rad": 0.0, "speed_m_s": 2.0, "turn_rad_s": 0.0} | more
    return Way(spot=0, xy_m=np.array([3.0, 4.0]), **said)


def test_straight_on():
    # Along x at 2 m/s, at (3, 4) after half a second: 1 m before it at first, 1 m beyond it after a second.
    assert way().at(np.array([0.0, 0.5, 1.0])) == pytest.approx(np.array([[2, 4], [3, 4], [4, 4]]))


def test_a_quarter_of_a_circle():
    # pi/2 rad/s for 1 s at speed pi/2 * 2 m/s: a radius of 2 m, from (3, 4) along x to (5, 6) along y.
    turns = way(passes_s=0.0, speed_m_s=math.pi, turn_rad_s=math.pi / 2)
    assert turns.at(np.array([0.0, 1.0])) == pytest.approx(np.array([[3, 4], [5, 6]]))


def test_a_bend_is_many_short_steps():
    """The slow twin: small steps along the heading of each moment."""
    bend = way(passes_s=0.0, heading_rad=0.7, speed_m_s=1.4, turn_rad_s=-0.8)
    at, steps = bend.xy_m.copy(), 4000
    for step in range(steps):
        heading = 0.7 - 0.8 * (step + 0.5) / steps
        at += 1.4 / steps * np.array([math.cos(heading), math.sin(heading)])
    assert bend.at(np.array([1.0]))[0] == pytest.approx(at, abs=1e-6)


def test_who_stands_stays():
    stands = way(speed_m_s=0.0, turn_rad_s=0.5).at(np.linspace(0, 1, 5))
    assert stands == pytest.approx(np.tile([3.0, 4.0], (5, 1)))


def test_somebody_passes_their_place_when_they_should():
    person = crops.Person.of(crops.Plan(), 1)
    before, after = way(passes_s=0.0, speed_m_s=1.2).poses(person, 1.0)
    root = person.figure.skeleton.heads[0]
    places = [matrices[0, :, :3] @ root + matrices[0, :, 3] for matrices in (before, after)]
    assert places[0][:2] == pytest.approx([3, 4], abs=0.15)  # the hips sway about the way
    assert places[1][:2] == pytest.approx([3 + 1.2, 4], abs=0.15)


# --- what a camera sends


def test_a_finish_that_does_nothing_gives_the_picture():
    image = np.full((64, 96, 3), 90, np.uint8)
    neutral = CameraLook((1, 1, 1), 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    none = np.zeros(0)
    truth = Truth(0.0, none.astype(np.int32), none.reshape(0, 4), none, none.reshape(0, 2), none)
    sent = Finish(neutral, None, 100, 0.1).apply(Picture(image, truth), 1.0, 0.1, np.random.default_rng(0))
    assert np.abs(sent.astype(int) - 90).max() <= 1
    brighter = Finish(neutral, None, 100, 0.1).apply(
        Picture(image, truth), 1.1, 0.1, np.random.default_rng(0)
    )
    assert brighter.mean() == pytest.approx(99, abs=1)  # 1.1 * 90


def test_drawn_cameras_reach_into_their_corners():
    """A lens that folds the corners over would show nothing there."""
    rng = np.random.default_rng(3)
    said = settings.Camera(at=(0, 0, 3), look=(0, 9, 1))
    for _ in range(200):
        camera = Camera.of("camera", pairs._seen_otherwise(said, (480, 288), rng), rng)
        corner = camera.rays(np.array([[0.5, 0.5]]))
        assert camera.project(corner @ camera.R + camera.centre_m)[0] == pytest.approx(
            np.array([[0.5, 0.5]]), abs=1e-3
        )


# --- packs


class FakeSite:
    """Says its pair's number in every array, and counts."""

    made: list[int] = []
    fails_at = -1

    def __init__(self, plan: Plan, number: int) -> None:
        self._size = plan.size[::-1]

    def __enter__(self) -> FakeSite:
        return self

    def __exit__(self, *told: object) -> None:
        pass

    def show(self, number: int, gap: int, rng: np.random.Generator) -> Shown:
        if number == FakeSite.fails_at:
            raise KeyboardInterrupt
        FakeSite.made.append(number)
        height, width = self._size
        return Shown(
            pictures=np.full((2, height, width, 3), number, np.uint8),
            flow=np.full((height, width, 2), gap + rng.random(), np.float16),
            hidden=np.full((height, width), number % 2 == 1),
            people=np.full((height, width), number, np.uint8),
        )


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(pairs, "DrawnSite", FakeSite)
    monkeypatch.setattr(pairs, "BLOCK", 3)
    monkeypatch.setattr(FakeSite, "made", [])
    monkeypatch.setattr(FakeSite, "fails_at", -1)


SMALL = {"width": 64, "height": 64}


def arrays(folder) -> dict[str, np.ndarray]:
    return {name: np.load(folder / f"{name}.npy") for name in pairs.KEPT}


def test_a_pack_holds_what_was_shown(fake, tmp_path):
    assert list(pairs.make(Plan(pairs=7, gaps=(1, 5), **SMALL), tmp_path / "pack")) == [0, 3, 6, 7]
    pack = arrays(tmp_path / "pack")
    kinds = {name: (array.shape, array.dtype.name) for name, array in pack.items()}
    assert kinds == {
        "pictures": ((7, 2, 64, 64, 3), "uint8"),
        "flow": ((7, 64, 64, 2), "float16"),
        "hidden": ((7, 64, 64), "bool"),
        "people": ((7, 64, 64), "uint8"),
        "gap": ((7,), "int16"),
    }
    assert pack["people"][:, 0, 0].tolist() == list(range(7))
    assert pack["gap"].tolist() == [1, 5, 1, 5, 1, 5, 1]
    assert json.loads((tmp_path / "pack/info.json").read_text())["pairs"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pack"]


def test_what_was_interrupted_goes_on_and_is_the_same(fake, tmp_path, monkeypatch):
    plan = Plan(pairs=8, **SMALL)
    monkeypatch.setattr(FakeSite, "fails_at", 4)
    with pytest.raises(KeyboardInterrupt):
        list(pairs.make(plan, tmp_path / "pack"))
    assert not (tmp_path / "pack").exists()
    FakeSite.made.clear()
    monkeypatch.setattr(FakeSite, "fails_at", -1)
    assert list(pairs.make(plan, tmp_path / "pack")) == [3, 6, 8]
    assert FakeSite.made == [3, 4, 5, 6, 7]  # the block that was whole is not made again
    list(pairs.make(plan, tmp_path / "other"))
    for name, array in arrays(tmp_path / "other").items():
        assert (array == arrays(tmp_path / "pack")[name]).all()
    FakeSite.made.clear()
    assert list(pairs.make(plan, tmp_path / "pack")) == [8]
    assert FakeSite.made == []


def test_parts_appear_one_by_one_and_hold_the_same_pairs(fake, tmp_path):
    whole = tmp_path / "whole"
    list(pairs.make(Plan(pairs=12, **SMALL), whole))
    there = []
    for _ in pairs.make(Plan(pairs=12, parts=2, **SMALL), tmp_path / "parts"):
        there.append([name for name in ("000", "001") if (tmp_path / "parts" / name).exists()])
    assert there == [[], [], ["000"], ["000"], ["000", "001"]]  # 6 pairs each, in blocks of 3
    for name, array in arrays(whole).items():
        parts = [np.load(tmp_path / "parts" / part / f"{name}.npy") for part in ("000", "001")]
        assert (np.concatenate(parts) == array).all()


def test_another_plan_or_another_folder_is_refused(fake, tmp_path):
    list(pairs.make(Plan(pairs=2, **SMALL), tmp_path / "pack"))
    with pytest.raises(PairsError, match="other settings"):
        list(pairs.make(Plan(pairs=3, **SMALL), tmp_path / "pack"))
    (tmp_path / "mine").mkdir()
    with pytest.raises(PairsError, match="something else"):
        list(pairs.make(Plan(pairs=2, **SMALL), tmp_path / "mine"))


# --- rendered ones

RENDERED = Plan(width=160, height=96, seed=4)
STILL = 0  # a site of that seed whose camera stands still


def shows(site: pairs.Site, *numbers: int, gap: int = 5) -> list[Shown]:
    try:
        with site:
            return [site.show(number, gap, RENDERED.chance("pair", number)) for number in numbers]
    except RenderError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def few():
    """Fewer people are sooner dressed."""
    pytest.importorskip("moderngl", reason="needs the extra [scenes]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "PARTY", (3, 4))
        yield


@pytest.fixture(scope="module")
def drawn(few) -> list[Shown]:
    """Two pairs of one site."""
    return shows(DrawnSite(RENDERED, STILL), 0, 1)


def warped_back(shown: Shown) -> np.ndarray:
    """(H, W, 3) After, fetched to where before shows it."""
    y, x = np.indices(shown.hidden.shape, np.float32)
    flow = shown.flow.astype(np.float32)
    return cv2.remap(shown.pictures[1], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)


def unlike(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(one[where].astype(int) - other[where]).mean())


def check_that_flow_leads_to_the_same_surface(shown: Shown) -> None:
    """Where somebody who walks is seen in both pictures, the second one fetched back by flow is as the first."""
    moved = np.linalg.norm(shown.flow.astype(np.float32), axis=2)
    seen = (shown.people > 0) & ~shown.hidden & (moved > 1)
    assert seen.sum() > 30
    before = shown.pictures[0]
    assert unlike(before, warped_back(shown), seen) < 0.75 * unlike(before, shown.pictures[1], seen)
    assert moved.max() <= pairs.MOST_PX and np.isfinite(moved).all()


def test_flow_leads_to_the_same_surface_in_a_drawn_site(drawn):
    for shown in drawn:
        check_that_flow_leads_to_the_same_surface(shown)


def test_flow_leads_to_the_same_surface_in_a_scene_of_a_file(few):
    check_that_flow_leads_to_the_same_surface(
        shows(StagedSite(RENDERED, "scenes/sites/demo.yaml"), 0, gap=5)[0]
    )


def test_before_a_still_camera_only_people_have_flow(drawn):
    for shown in drawn:
        assert (shown.flow[shown.people == 0] == 0).all()
        assert (shown.flow[shown.people > 0] != 0).any()


def test_the_same_seed_is_the_same_pair_and_the_next_is_another(drawn):
    again = shows(DrawnSite(RENDERED, STILL), 1)[0]  # whichever was made before it
    for name in ("pictures", "flow", "hidden", "people"):
        assert (getattr(again, name) == getattr(drawn[1], name)).all()
    assert (drawn[0].pictures != drawn[1].pictures).any()
