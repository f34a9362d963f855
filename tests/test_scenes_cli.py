"""The command line of scenes, with a painter of plain rectangles."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import yaml

from run_tracker import main as run_tracker
from scenes import preview
from scenes import write as scenes_write
from scenes.__main__ import main
from tests.test_scenes_write import SCENE, noisy, rectangles


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rectangles instead of OpenGL."""
    for module in (scenes_write, preview):
        monkeypatch.setattr(module, "paint_with_renderer", rectangles)
        monkeypatch.setattr(module, "finish_with_look", noisy)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SCENE), "utf-8")
    return path


def test_a_render_is_ready_for_the_tracker(
    painted: None, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert main(["render", str(file), "-o", str(out), "--seconds", "2", "--jobs", "1"]) == 0
    told = capsys.readouterr().out
    assert "3 people; frames: gate 10, mast " in told
    assert f"run_tracker.py process {out / 'site.yaml'}" in told
    assert run_tracker(["process", str(out / "site.yaml"), "-o", str(tmp_path / "run"), "-q"]) == 0
    assert (
        run_tracker(
            [
                "evaluate",
                "--tracks",
                str(tmp_path / "run" / "tracks"),
                "--truth",
                str(out / "truth"),
                "--across-only",
            ]
        )
        == 0
    )


def test_only_the_cameras_that_are_named(painted: None, file: Path, tmp_path: Path):
    out = tmp_path / "out"
    line = ["render", str(file), "-o", str(out), "--seconds", "1", "--cameras", "mast", "--jobs", "1"]
    assert main(line) == 0
    assert [path.name for path in out.glob("*.mp4")] == ["mast.mp4"]
    assert set(yaml.safe_load((out / "site.yaml").read_text("utf-8"))["cameras"]) == {"mast"}


def test_a_seed_of_the_command_line_is_another_scene(painted: None, file: Path, tmp_path: Path):
    line = ["--seconds", "0.4", "--cameras", "gate", "--jobs", "1"]
    assert main(["render", str(file), "-o", str(tmp_path / "a"), *line]) == 0
    assert main(["render", str(file), "-o", str(tmp_path / "b"), "--seed", "3", *line]) == 0
    people = [(tmp_path / name / "people.json").read_text("utf-8") for name in "ab"]
    assert people[0] != people[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--cameras", "gat"],
            "--cameras gat: there is no such camera; did you mean gate? (cameras: gate, mast)",
        ),
        (["--seconds", "60"], "--seconds 60: more than 0 and at most 6, the scene's length"),
        (["--difficulty", "2"], "arguments: difficulty: input should be less than or equal to 1"),
    ],
)
def test_a_mistake_is_told_in_a_line(
    more: list[str], message: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["render", str(file), "-o", str(tmp_path / "out"), *more]) == 2
    assert capsys.readouterr().err == f"{message}\n"
    assert not (tmp_path / "out").exists()


def test_a_camera_that_sees_nobody_is_told(painted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "up.yaml"
    up = {"at": [4, 3, 2.5], "look": [4, 3, 9], "size": [64, 48]}
    cameras = {"gate": SCENE["cameras"]["gate"], "up": up}
    path.write_text(yaml.safe_dump(SCENE | {"cameras": cameras}), "utf-8")
    assert main(["render", str(path), "-o", str(tmp_path / "out"), "--jobs", "1", "-q"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["up sees nobody"]


def test_a_folder_that_cannot_be_made(
    painted: None, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "note").write_text("", "utf-8")
    assert (
        main(["render", str(file), "-o", str(tmp_path / "note" / "out"), "--seconds", "0.4", "--jobs", "1"])
        == 2
    )
    assert "note" in capsys.readouterr().err


def test_a_bad_file_is_told_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(SCENE | {"fbs": 3, "difficulty": 3}), "utf-8")
    assert main(["render", str(path), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: difficulty: input should be less than or equal to 1",
        f"{path}: fbs: unknown name; did you mean fps?",
    ]


def test_a_contact_sheet(painted: None, file: Path, tmp_path: Path):
    sheet = tmp_path / "sheet.jpg"
    assert main(["preview", str(file), "-o", str(sheet), "--at", "1", "4"]) == 0
    image = cv2.imread(str(sheet))
    # Two instants of two cameras, 480 px wide each, heights 270 and 320; below them one row of three people in pairs.
    assert image.shape == (2 * (320 + 16) + preview.LINE_UP_PX[1] + 16, 2 * 480, 3)


def test_a_sheet_that_is_no_picture(
    painted: None, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["preview", str(file), "-o", str(tmp_path / "sheet.doc"), "--at", "1"]) == 2
    assert "sheet.doc: call it .jpg or .png" in capsys.readouterr().err
