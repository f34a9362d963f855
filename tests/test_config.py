"""Site files: every mistake with its place, secrets from the environment, values from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tracker.config import (
    NoEmbedderSettings,
    OnnxDetectorSettings,
    RecordedDetectorSettings,
    Site,
    from_values,
    load,
    read_calibration,
    site_from_arguments,
)
from tracker.errors import UserError

K = [[800, 0, 640], [0, 800, 360], [0, 0, 1]]
R = np.eye(3).tolist()
CALIBRATION = {"K": K, "R": R, "t": [0, 0, 4]}


def site_file(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(folder: Path, text: str, *overrides: str) -> list[str]:
    """What a file is refused for, without the file's name."""
    path = site_file(folder, text)
    with pytest.raises(UserError) as refused:
        load(path, overrides)
    lines = str(refused.value).splitlines()
    assert all(line.startswith(f"{path}") for line in lines)
    return [line.removeprefix(f"{path}").removeprefix(": ") for line in lines]


# ---- what is right -------------------------------------------------------------------------------------------


def test_a_camera_may_be_one_word(tmp_path):
    site = load(
        site_file(tmp_path, "cameras:\n  hall: hall.mp4\n  desk: 0\n  yard: rtsp://10.0.0.7/stream\n")
    )
    assert list(site.cameras) == ["hall", "desk", "yard"]
    # Files are looked up beside the site file; a webcam's number and an address stay as they are.
    assert [c.url for c in site.cameras.values()] == [
        str(tmp_path / "hall.mp4"),
        "0",
        "rtsp://10.0.0.7/stream",
    ]


def test_paths_are_beside_the_site_file_unless_they_are_absolute(tmp_path):
    site = load(site_file(tmp_path, "cameras: {a: {url: v/a.mp4, detections: d/det.txt, mask: /m/a.png}}"))
    a = site.cameras["a"]
    assert (a.url, a.detections, a.mask) == (
        str(tmp_path / "v/a.mp4"),
        str(tmp_path / "d/det.txt"),
        "/m/a.png",
    )


def test_what_is_left_out_has_its_default(tmp_path):
    assert load(site_file(tmp_path, "cameras: {a: a.mp4}\n")).track == Site(cameras={"a": {"url": "x"}}).track
    site = load(site_file(tmp_path, "cameras: {a: a.mp4}\nlink: {max_gap_s: 200}\n"))
    assert site.link.max_gap_s == 200 and site.link.leave_s == 5.0


def test_kinds_choose_the_settings(tmp_path):
    site = load(
        site_file(tmp_path, "cameras: {a: a.npz}\ndetector: {kind: recorded}\nembedder: {kind: none}\n")
    )
    assert isinstance(site.detector, RecordedDetectorSettings) and isinstance(
        site.embedder, NoEmbedderSettings
    )
    # Without a kind it is the network.
    site = load(site_file(tmp_path, "cameras: {a: a.mp4}\ndetector: {min_score: 0.2}\n"))
    assert isinstance(site.detector, OnnxDetectorSettings) and site.detector.min_score == 0.2


def test_settings_cannot_be_changed():
    site = from_values({"cameras": {"a": "a.mp4"}}, source="x")
    with pytest.raises(ValidationError, match="frozen"):
        site.number = 3  # type: ignore[misc]


# ---- mistakes ------------------------------------------------------------------------------------------------


def test_every_mistake_is_listed_with_its_place(tmp_path):
    found = mistakes(
        tmp_path,
        """
cameras:
  hall: {urll: a.mp4}
  yard: {url: b.mp4, fps: -3}
track: {lost_s: soon}
link: {false_merge_rat: 0.1}
detector: {min_scor: 0.2}
sotre: {keep_days: 3}
""",
    )
    assert sorted(found) == [
        "cameras.hall.url: is missing",
        "cameras.hall.urll: unknown name; did you mean url?",
        "cameras.yard.fps: input should be greater than 0",
        "detector.min_scor: unknown name; did you mean min_score?",
        "link.false_merge_rat: unknown name; did you mean false_merge_rate?",
        "sotre: unknown name; did you mean store?",
        "track.lost_s: input should be a valid number, unable to parse string as a number",
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("cameras: {a: {url: a, calibration: {K: 3}}}", "cameras.a.calibration.K"),
        ("cameras: {a: {url: a, calibration: {homografy: []}}}", "cameras.a.calibration.homografy: unknown name; did"),
        ("cameras: {a: a}\nembedder: {modl: x}", "embedder.modl: unknown name; did you mean model?"),
        ("cameras: {a: a}\nembedder: {kind: onx}", "embedder: input tag 'onx'"),
        ("cameras: {a: a}\nflow: {kind: raft}", "flow.kind: input should be 'auto', 'base', 'tiny', 'dis' or 'none'"),
        ("cameras: {a: a}\nbus: {ingestt: x}", "bus.ingestt: unknown name; did you mean ingest?"),
        ("cameras: {a: a}\nxyzzy: 1", "xyzzy: unknown name"),
        ("cameras: {a: }", "cameras.a: input should be a valid dictionary"),
        ("cameras: [a, b]", "cameras: input should be a valid dictionary"),
        ("cameras: {}", "cameras: at least one camera is needed"),
        ("name: x", "cameras: is missing"),
        ("cameras: {'hall/1': a}", "cameras: camera name 'hall/1': letters, digits"),
        ("cameras: {a: a}\nlink: {max_gap_s: .inf}", "link.max_gap_s: input should be a finite number"),
        ("cameras: {a: {url: a, ignore: [[[0, 0], [1, 1]]]}}", "cameras.a.ignore: a polygon needs at least 3 points"),
        ("cameras: {a: {url: a, regions: [[[0, 0, 1], [1, 1], [2, 2]]]}}", "cameras.a.regions.0.0"),
    ],
)  # fmt: skip
def test_one_mistake(text, place, tmp_path):
    found = mistakes(tmp_path, text)
    assert any(line.startswith(place) for line in found), found


def test_two_cameras_with_one_name(tmp_path):
    """YAML keeps the last of two and says nothing; here the second one is a mistake with its line."""
    [found] = mistakes(tmp_path, "cameras:\n  hall: a.mp4\n  hall: b.mp4\n")
    assert found == ":3:3: no valid YAML: 'hall' stands here twice"
    with pytest.raises(UserError, match="'hall' is given twice"):
        site_from_arguments([("hall", "a.mp4"), ("hall", "b.mp4")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cameras: {a: [}", "no valid YAML"),
        ("cameras:\n\t- a", "no valid YAML"),
        ("? [a, b]\n: c", "no valid YAML"),  # a list as a name used to be a traceback
        ("- a\n- b", "a site file is a mapping"),
        ("", "a site file is a mapping"),
        ("cameras: !!python/object:os.system x", "no valid YAML"),
    ],
)
def test_a_file_that_is_no_site(text, said, tmp_path):
    [found] = mistakes(tmp_path, text)
    assert said in found


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "latin.yaml")


# ---- the environment -----------------------------------------------------------------------------------------


def test_secrets_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HALL_PASSWORD", "s3cret")
    text = "cameras: {hall: 'rtsp://me:${HALL_PASSWORD}@10.0.0.7/x'}\n"
    assert load(site_file(tmp_path, text)).cameras["hall"].url == "rtsp://me:s3cret@10.0.0.7/x"


def test_a_variable_that_is_not_there_is_named_with_its_place(tmp_path, monkeypatch):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    found = mistakes(tmp_path, "cameras: {hall: {url: 'rtsp://${NOT_SET_HERE}@x', fps: -1}}\n")
    assert "cameras.hall.url: the environment has no NOT_SET_HERE" in found
    assert any(line.startswith("cameras.hall.fps") for line in found)  # the others are told as well


# ---- values from the command line ----------------------------------------------------------------------------


def test_overrides_replace_values_of_the_file(tmp_path):
    path = site_file(tmp_path, "cameras: {a: {url: a.mp4}}\nlink: {max_gap_s: 60}\n")
    site = load(
        path, ["link.max_gap_s=200", "track.lost_s=1.5", "cameras.a.fps=12", "flow.kind=none", "name=x"]
    )
    assert (site.link.max_gap_s, site.track.lost_s, site.cameras["a"].fps) == (200, 1.5, 12)
    assert (site.flow.kind, site.name) == ("none", "x")
    assert load(path).link.max_gap_s == 60


def test_an_override_of_nothing_known(tmp_path):
    text = "cameras: {a: {url: a.mp4}}\n"
    assert mistakes(tmp_path, text, "link.max_gap=3") == [
        "link.max_gap: unknown name; did you mean max_gap_s?"
    ]
    path = site_file(tmp_path, text)
    for override, said in (
        ("link.max_gap_s", "write it as name.name=value"),
        ("cameras.a.url.x=3", "has no fields"),
        ("link.max_gap_s=[", "is no value"),
    ):
        with pytest.raises(UserError, match=said):
            load(path, [override])


def test_the_site_that_arguments_describe(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(CALIBRATION))
    site = site_from_arguments(
        [("a", "/v/a.mp4"), ("b", "/v/b.mp4")],
        offsets={"b": 2.4},
        detections={"a": "/v/det.txt"},
        calibrations={"a": str(tmp_path / "a.json")},
        recorded_score=1.0,
        overrides=["track.lost_s=2"],
    )
    a, b = site.cameras["a"], site.cameras["b"]
    assert (a.start, b.start, a.detections, b.detections) == (None, 2.4, "/v/det.txt", None)
    assert a.calibration is not None and a.calibration.t == [0, 0, 4] and b.calibration is None
    assert (a.recorded_score, b.recorded_score, site.track.lost_s) == (1.0, 1.0, 2.0)


def test_an_option_for_a_camera_that_is_not_there():
    with pytest.raises(UserError, match=r"c=2.4: there is no camera 'c' \(cameras: a, b\)"):
        site_from_arguments([("a", "a.mp4"), ("b", "b.mp4")], offsets={"c": 2.4})


# ---- calibration ---------------------------------------------------------------------------------------------


def test_a_calibration_may_be_a_file_beside_the_site(tmp_path):
    # What a file says beyond a calibration is left out.
    (tmp_path / "cal.json").write_text(json.dumps({**CALIBRATION, "distortion": [0.1] * 5, "made_by": "us"}))
    site = load(site_file(tmp_path, "cameras: {a: {url: a.mp4, calibration: cal.json}}"))
    calibration = site.cameras["a"].calibration
    assert calibration is not None and calibration.K == K and len(calibration.distortion) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"R": [[2, 0, 0], [0, 1, 0], [0, 0, 1]]}, "R is no rotation"),
        ({"R": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, "R is no rotation"),  # a mirror
        ({"K": [[1, 2], [3, 4]]}, "K must be an invertible 3 x 3 matrix"),
        ({"K": [[1, 2, 3], [1, 2, 3], [0, 0, 1]]}, "K must be an invertible 3 x 3 matrix"),
        ({"K": [[1, 2, 3], [1, 2], [0, 0, 1]]}, "K must be an invertible 3 x 3 matrix"),
        ({"t": [1, 2]}, "t must have 3 numbers"),
        ({"t": None}, "needs K, R and t, or a homography"),
        ({"distortion": [0.1, 0.2]}, "distortion must have 0, 4, 5 or 8 numbers"),
        ({"homography": np.eye(3).tolist()}, "either a homography or K, R and t"),
    ],
)
def test_a_calibration_that_cannot_be(change, said, tmp_path):
    with pytest.raises(UserError, match=said) as refused:
        from_values({"cameras": {"a": {"url": "a", "calibration": {**CALIBRATION, **change}}}}, source="s")
    assert "s: cameras.a.calibration: " in str(refused.value)
    (tmp_path / "c.json").write_text(json.dumps({**CALIBRATION, **change}))
    with pytest.raises(UserError, match=said):
        read_calibration(tmp_path / "c.json")


def test_a_homography_alone_is_enough(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"homography": np.eye(3).tolist()}))
    assert read_calibration(tmp_path / "c.json") == {"homography": np.eye(3).tolist()}


def test_a_calibration_file_that_is_none(tmp_path):
    with pytest.raises(UserError, match="no such calibration file"):
        read_calibration(tmp_path / "no.json")
    for text in ("{", "[1, 2]", "{}"):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(UserError, match=r"c\.json: "):
            read_calibration(tmp_path / "c.json")
    found = mistakes(tmp_path, "cameras: {a: {url: a, calibration: no.json}}")
    assert found == [f"cameras.a.calibration: {tmp_path / 'no.json'}: no such calibration file"]
