"""Scene files: what they may say, and what is answered to what they may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scenes import settings
from scenes.settings import SceneError, from_values, load

SMALL: dict[str, Any] = {
    "name": "small",
    "areas": {"yard": {"x": [0, 10], "y": [0, 5]}},
    "cameras": {"gate": {"at": [0, 0, 3], "look": [5, 2, 1]}},
}


def mistakes_of(**changes: Any) -> list[str]:
    with pytest.raises(SceneError) as refused:
        from_values(SMALL | changes, source="f.yaml")
    return str(refused.value).split("\n")


def test_a_small_scene_is_complete():
    scene = from_values(SMALL)
    assert scene.cameras["gate"].size == (640, 360)
    assert scene.light.kind == "day"


def test_all_mistakes_are_told_at_once_each_with_its_place():
    said = mistakes_of(
        secnods=3,
        areas={"yard": {"x": [0, 10], "y": [0, 5], "flor": "tiles"}},
        cameras={
            "gate": {"at": [0, 0, 3], "look": [5, 2, 1], "motion": {"pann": 3}},
            "door": {"at": [0, 0, 3]},
        },
        people={"cast": [{"looks": {}}]},
    )
    assert sorted(said) == [
        "f.yaml: areas.yard.flor: unknown name; did you mean floor?",
        "f.yaml: cameras.door.look: is missing",
        "f.yaml: cameras.gate.motion.pann: unknown name; did you mean pan?",
        "f.yaml: people.cast.0.looks: unknown name; did you mean look?",
        "f.yaml: secnods: unknown name; did you mean seconds?",
    ]


def test_what_does_not_hang_together_is_told_at_once():
    said = mistakes_of(
        doors=[{"between": ["yrad"], "at": [0, 2]}],
        people={"count": 1, "cast": [{"start": [11, 2]}, {"goals": [[1, 1], [1, 6]]}]},
    )
    assert said == [
        "f.yaml: doors.0.between: there is no area 'yrad'; did you mean yard?",
        "f.yaml: people.cast: names 2 people, people.count allows 1",
        "f.yaml: people.cast.0.start: lies in no area",
        "f.yaml: people.cast.1.goals: lies in no area",
    ]


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ({"size": [641, 360]}, "cameras.gate.size: width and height are even numbers from 16 to 8192"),
        ({"look": [0, 0, 3]}, "cameras.gate: at and look are the same point"),
        ({"view": 200}, "cameras.gate.view: input should be less than 150"),
        ({"clock_offset": float("nan")}, "cameras.gate.clock_offset: input should be a finite number"),
    ],
)
def test_impossible_cameras(camera: dict[str, Any], message: str):
    assert mistakes_of(cameras={"gate": {"at": [0, 0, 3], "look": [5, 2, 1]} | camera}) == [
        f"f.yaml: {message}"
    ]


def test_looks_are_checked_with_the_rest():
    said = mistakes_of(people={"cast": [{"look": {"heigth_m": 1.8, "age_years": "old"}}]})
    assert said[0] == "f.yaml: people.cast.0.look.heigth_m: unknown name; did you mean height_m?"
    assert said[1].startswith("f.yaml: people.cast.0.look.age_years: input should be a valid")


def test_a_look_that_does_not_exist_says_what_does():
    said = mistakes_of(people={"cast": [{"look": {"height_m": 7, "hat": "crown"}}]})
    assert said[0].startswith("f.yaml: people.cast.0.look.hat 'crown': one of none, cap, ")
    assert said[1] == "f.yaml: people.cast.0.look.height_m 7.0: from 0.9 to 2.3"


def test_lists_of_a_file_become_the_tuples_of_a_look():
    assert settings.checked_look({"height_m": 1.8}) == {"height_m": 1.8}
    assert settings.checked_look({"skin": [0.5, 0.4, 0.3]}) == {"skin": (0.5, 0.4, 0.3)}


def test_difficulty_moves_what_the_file_leaves_out_and_nothing_else():
    # 10 m x 5 m = 50 square metres: 4 per 100 at difficulty 0, 20 per 100 at 1.
    assert from_values(SMALL | {"difficulty": 0}).people.count == 2
    assert from_values(SMALL | {"difficulty": 1}).people.count == 10
    assert from_values(SMALL | {"difficulty": 1, "people": {"count": 3}}).people.count == 3
    assert [settings.usual_quality(d) for d in (0, 1)] == [20, 32]


def test_everybody_of_the_cast_comes_where_no_number_is_said():
    assert from_values(SMALL | {"difficulty": 0, "people": {"cast": [{}] * 5}}).people.count == 5


def test_a_file_is_named_by_itself_unless_it_says_a_name(tmp_path: Path):
    text = "areas: {yard: {x: [0, 10], y: [0, 5]}}\ncameras: {gate: {at: [0, 0, 3], look: [5, 2, 1]}}\n"
    path = tmp_path / "lobby.yaml"
    path.write_text(text, "utf-8")
    assert load(path).name == "lobby"
    path.write_text(text + "name: hall\n", "utf-8")
    assert load(path).name == "hall"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("areas: {yard: [", "no valid YAML"),
        ("- 1", "a scene file is a table"),
        ("name: a\nname: b\n", "'name' stands here twice"),
    ],
)
def test_no_scene_file(tmp_path: Path, text: str, message: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(SceneError, match=message):
        load(path)


def test_no_file():
    with pytest.raises(SceneError, match="no such file"):
        load("nowhere.yaml")


@pytest.mark.parametrize(
    "path", sorted((Path(settings.__file__).parent / "sites").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_shipped_scenes_are_good(path: Path):
    scene = load(path)
    assert scene.name == path.stem
    assert settings.Scene.model_validate(scene.model_dump()) == scene


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ({"fps": 0.0003}, "fps: input should be greater than or equal to 0.05"),  # used to divide by zero
        ({"noise": 30}, "noise: input should be less than or equal to 24"),  # used to overflow 16 bits
        ({"blur": 3000}, "blur: input should be less than or equal to 50"),  # used to take for ever
        (
            {"clock_drift": -1e6},
            "clock_drift: input should be greater than or equal to -100000",
        ),  # time stood still
    ],
)
def test_numbers_that_no_camera_has(camera: dict[str, Any], said: str):
    assert mistakes_of(cameras={"gate": {"at": [0, 0, 3], "look": [5, 2, 1], **camera}}) == [
        f"f.yaml: cameras.gate.{said}"
    ]


def test_another_difficulty_is_another_crowd():
    """What a scene was given only then: `--difficulty` used to keep the number of people of the file's own."""
    calm = from_values(SMALL | {"people": {"groups": 0.1}, "difficulty": 0.0})
    assert calm.people.count == 2  # 50 m2, 4 per 100
    full = from_values(calm.model_dump(exclude_unset=True) | {"difficulty": 1.0})
    assert full.people.count == 10  # 20 per 100
    said = from_values(SMALL | {"people": {"count": 7}})
    assert from_values(said.model_dump(exclude_unset=True) | {"difficulty": 1.0}).people.count == 7


def test_a_lens_that_folds_the_picture_over():
    # r (1 - 0.3 r^2) grows up to r = 1 / sqrt(0.9), to 2 / 3 of it: 0.70. The edges are at tan(view / 2).
    bent = {"at": [0, 0, 3], "look": [5, 2, 1], "distortion": [-0.3, 0, 0, 0, 0]}
    assert "folds over" in mistakes_of(cameras={"gate": {**bent, "view": 72}})[0]  # 0.73
    assert from_values(SMALL | {"cameras": {"gate": {**bent, "view": 68}}})  # 0.67


def test_sides_without_length():
    """An obstacle of negative length used to be drawn with normals that are no numbers."""
    said = mistakes_of(obstacles=[{"kind": "box", "at": [1, 1], "size": [-1, 0, 1]}])
    assert [line.split(":")[1] for line in said] == [" obstacles.0.size.0", " obstacles.0.size.1"]
    assert "at least 1 m wide" in mistakes_of(areas={"yard": {"x": [0, 0.2], "y": [0, 5]}})[0]
