"""Settings -> objects: every kind is built, and what is built follows its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models import ModelError
from tests.scenes import person_box, seen
from tracker import build
from tracker.build import (
    FLOW_MS,
    build_appearance,
    build_detector,
    build_embedder,
    build_flow,
    build_flows,
    build_linker,
    build_pipeline,
    build_plan,
    flow_kind,
    flow_kinds,
    track_settings,
)
from tracker.config import Calibration, FlowSettings, Site, from_values
from tracker.core.appearance import AppearanceModel
from tracker.core.pipeline import Answers
from tracker.errors import UserError
from tracker.types import global_id_of

RECORDED = {"detector": {"kind": "recorded"}, "embedder": {"kind": "none"}, "flow": {"kind": "none"}}


def site(camera: dict[str, Any] | None = None, **parts: Any) -> Site:
    return from_values({"cameras": {"a": {"url": "a.mp4", **(camera or {})}}, **parts}, source="test")


def test_what_is_switched_off_is_none():
    off = site(**RECORDED)
    assert build_detector(off.detector) is None
    assert build_embedder(off.embedder) is None
    assert build_flow(off.flow) is None


def test_optical_flow_is_built_by_its_kind():
    estimator = build_flow(site(flow={"kind": "dis"}).flow)
    assert estimator is not None
    image = np.zeros((48, 64, 3), np.uint8)
    assert estimator.estimate(image, image).shape == (48, 64, 2)


def auto(budget_ms: float, share: float = 1.0) -> str:
    return flow_kind(FlowSettings(kind="auto", budget_ms=budget_ms), share=share)


def test_auto_is_the_best_flow_that_the_budget_allows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_is_here", lambda kind: True)
    assert list(FLOW_MS) == ["base", "tiny", "dis"]
    for kind, ms in FLOW_MS.items():
        assert auto(ms) == kind
    assert auto(FLOW_MS["dis"] * 0.99) == "none"
    # Seen at every tenth frame it may take ten times as long.
    assert auto(FLOW_MS["base"] / 10, share=1 / 10) == "base"
    assert auto(FLOW_MS["base"] / 10 * 0.99, share=1 / 10) == "tiny"


def test_auto_takes_no_flow_that_is_not_on_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_is_here", lambda kind: kind not in ("base", "tiny"))
    assert auto(1000) == "dis"
    monkeypatch.undo()

    def nothing(name: str) -> None:
        raise build.models.ModelError(f"{name} is not here")

    monkeypatch.setattr(build.models, "locate", nothing)
    assert auto(1000) == "dis"


def test_who_names_a_flow_gets_that_one_whatever_it_costs():
    assert flow_kind(FlowSettings(kind="base", budget_ms=0.1)) == "base"
    assert flow_kind(FlowSettings(kind="none", budget_ms=1000)) == "none"


def cameras(**cameras: dict[str, Any]) -> dict[str, Any]:
    return {c: {"url": f"{c}.mp4", **more} for c, more in cameras.items()}


def test_every_camera_with_pictures_has_a_flow_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_is_here", lambda kind: True)
    monkeypatch.setattr(build, "FLOW_MS", {"base": 20.0, "tiny": 5.0, "dis": 2.0})
    found = from_values(
        {
            "cameras": cameras(
                plain={},
                still={"flow": {"kind": "none"}},
                seldom={"keyframes": {"every": 10, "carry": "keys"}},
                busy={
                    "keyframes": {"every": 10, "carry": "keys", "adaptive": True}
                },  # a field for every 4th at worst
                hurried={"keyframes": {"every": 9, "carry": "keys", "adaptive": True}},  # for every 3rd
                often={"keyframes": {"every": 10, "carry": "gap"}},  # a field for every frame
                boxes={"url": "boxes.npz"},
            ),
            "flow": {"kind": "auto", "budget_ms": 20.0 / 4},
        },
        source="test",
    )
    assert flow_kinds(found) == {
        "plain": "tiny",
        "still": "none",
        "seldom": "base",
        "busy": "base",
        "hurried": "tiny",
        "often": "tiny",
    }


def test_cameras_of_one_kind_share_their_flow_and_without_one_have_none():
    found = from_values(
        {"cameras": cameras(a={}, b={}, c={"flow": {"kind": "none"}}), "flow": {"kind": "dis"}}, source="test"
    )
    flows = build_flows(found)
    assert sorted(flows) == ["a", "b"] and flows["a"] is flows["b"]
    assert sorted(build_flows(found, ["b", "c"])) == ["b"]


def test_every_pipeline_has_its_cameras_keyframes():
    found = from_values(
        {"cameras": cameras(a={"keyframes": {"every": 2, "carry": "keys"}}, b={}), **RECORDED}, source="test"
    )
    looks = {}
    for c in "ab":
        one = build_pipeline(c, found)
        looks[c] = []
        for n in range(5):
            looks[c].append(one.wants_detection(0.0))
            one.finish(n, n * 10**8, Answers(detections=seen([]) if looks[c][-1] else None))
    assert looks == {"a": [True, False, True, False, True], "b": [True] * 5}


def test_the_bundled_detector_is_built():
    detector = build_detector(site().detector)
    assert detector is not None and len(detector.model_hash) == 64
    assert [len(d) for d in detector.detect([np.zeros((120, 160, 3), np.uint8)])] == [0]


def test_a_model_that_nobody_knows_is_one_sentence():
    with pytest.raises((UserError, ValueError, RuntimeError, FileNotFoundError), match="no_such_model"):
        build_detector(site(detector={"model": "no_such_model"}).detector)


# ---- where people are looked for -----------------------------------------------------------------------------


def test_a_pipeline_knows_its_cameras_regions_and_mask(tmp_path: Path):
    picture = np.full((600, 1000), 255, np.uint8)
    picture[:, :300] = 0  # black = ignored
    assert cv2.imwrite(str(tmp_path / "mask.png"), picture)
    one = build_pipeline(
        "a",
        site(
            {
                "mask": str(tmp_path / "mask.png"),
                "regions": [[[0, 0], [800, 0], [800, 600], [0, 600]]],
                "ignore": [[[500, 300], [600, 300], [600, 500], [500, 500]]],
            },
            **RECORDED,
        ),
        run=4,
    )
    found = one.admitted(seen([person_box(x) for x in (200, 400, 550, 700, 900)]))
    assert found.boxes[:, 0].tolist() == [360, 660]  # 200: black, 550: ignored, 900: in no region
    assert one.end(0, 0).run == 4 and one.end(0, 0).camera_id == "a"


def test_a_mask_that_is_no_picture(tmp_path: Path):
    (tmp_path / "mask.png").write_text("no picture")
    with pytest.raises(UserError, match=r"cameras\.a\.mask: .*mask\.png is no readable picture"):
        build_pipeline("a", site({"mask": str(tmp_path / "mask.png")}, **RECORDED))


# ---- the floor -----------------------------------------------------------------------------------------------


def test_a_plan_from_a_homography_or_from_a_camera():
    assert build_plan(None) is None
    scale = build_plan(Calibration(homography=[[0.01, 0, 0], [0, 0.01, 0], [0, 0, 1]]))
    assert scale is not None
    np.testing.assert_allclose(scale.locate([[300, 400]]), [[3, 4]])
    # A camera 4 m up, looking straight down: its x is the world's x, its y the world's -y, 200 px are 1 m.
    above = Calibration(
        K=[[800, 0, 500], [0, 800, 300], [0, 0, 1]],
        R=[[1, 0, 0], [0, -1, 0], [0, 0, -1]],
        t=[0, 0, 4],
        distortion=[0, 0, 0, 0],
    )
    plan = build_plan(above)
    assert plan is not None
    np.testing.assert_allclose(plan.locate([[500, 300], [700, 400]]), [[0, 0], [1, -0.5]], atol=1e-9)


# ---- scores and looks ----------------------------------------------------------------------------------------


def test_the_detectors_card_says_what_a_sure_score_is():
    from_card = track_settings(site(), site().cameras["a"]).sure_score
    assert from_card is not None and 0 < from_card < 1
    # Words of the user's own count more, and recorded detections are of another detector.
    own = site(track={"sure_score": 0.45})
    assert track_settings(own, own.cameras["a"]).sure_score == 0.45
    recorded = site({"detections": "det.txt"})
    assert track_settings(recorded, recorded.cameras["a"]).sure_score is None
    # A .npz in place of a video used to be judged by the shipped detector's scale, which let its weak boxes in.
    alone = site({"url": "boxes.npz"})
    assert track_settings(alone, alone.cameras["a"]).sure_score is None
    none = site(**RECORDED)
    assert track_settings(none, none.cameras["a"]) == none.track


def test_a_linker_gives_ids_of_its_site():
    linker = build_linker(site(number=5, link={"leave_s": 9.0}, **RECORDED))
    linker.start_after(global_id_of(5, 41))
    assert linker.site == 5 and linker.settings.leave_s == 9.0


def test_without_a_card_distances_mean_the_usual():
    assert build_appearance(site(**RECORDED).embedder) == AppearanceModel()


def test_a_network_of_ones_own_is_taken_whatever_the_kind() -> None:
    own = FlowSettings(kind="auto", budget_ms=0.1, model="ours/adapted.onnx")
    assert flow_kind(own) == "ours/adapted.onnx"
    found = site(
        cameras={
            "a": {"url": "a.mp4", "flow": {"kind": "none"}},
            "b": {"url": "b.mp4", "flow": {"model": "ours.onnx"}},
        }
    )
    assert flow_kinds(found) == {"a": "none", "b": "ours.onnx"}
    with pytest.raises(ModelError, match="no model file at ours.onnx"):
        build_flows(found)


def test_a_device_that_flow_asks_for_reaches_its_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def load(name: str, *, device: str) -> object:
        asked.append((name, device))
        return object()

    monkeypatch.setattr("flow.load_estimator", load)
    build_flows(
        site(
            flow={"kind": "tiny", "device": "cpu"},
            cameras={
                "a": {"url": "a.mp4"},
                "b": {"url": "b.mp4"},
                "c": {"url": "c.mp4", "flow": {"kind": "tiny", "device": "cuda"}},
            },
        )
    )
    assert asked == [("tiny", "cpu"), ("tiny", "cuda")]  # one object for a and b
