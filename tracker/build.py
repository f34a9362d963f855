"""Settings -> objects; the one place that knows implementations by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import cv2
import numpy as np
from numpy.typing import NDArray

import models
from tracker.config import (
    Calibration,
    CameraSettings,
    DetectorSettings,
    EmbedderSettings,
    FlowSettings,
    NoEmbedderSettings,
    OnnxDetectorSettings,
    OnnxEmbedderSettings,
    RecordedDetectorSettings,
    Site,
    TrackSettings,
    is_recorded,
)
from tracker.core.appearance import AppearanceModel
from tracker.core.boxes import FloorPlan
from tracker.core.camera_tracker import CameraTracker
from tracker.core.keyframes import busy_gap
from tracker.core.linker import Linker
from tracker.core.pipeline import CameraPipeline
from tracker.core.topology import SiteModel
from tracker.errors import UserError

if TYPE_CHECKING:
    from flow.estimator import Estimator
    from reid.embedder import OnnxEmbedder
    from tracker.io.detectors import OnnxDetector


# Milliseconds of one core that a frame's flow takes, 640x480 and larger: python -m benchmarks.flow_tracking, on the
# machine of docs/flow.md, whose clock varies by 1.4. The best first.
FLOW_MS = {"base": 25.0, "tiny": 11.0, "dis": 4.5}


def build_detector(settings: DetectorSettings) -> OnnxDetector | None:
    """The detector; None where every camera brings recorded detections."""
    match settings:
        case OnnxDetectorSettings():
            from tracker.io.detectors import load_detector

            return load_detector(
                settings.model, device=settings.device, threads=settings.threads, min_score=settings.min_score
            )
        case RecordedDetectorSettings():
            return None
        case _:
            assert_never(settings)


def build_embedder(settings: EmbedderSettings) -> OnnxEmbedder | None:
    """The embedder; None where appearance is not used."""
    match settings:
        case OnnxEmbedderSettings():
            from reid import load_embedder

            return load_embedder(settings.model, device=settings.device, threads=settings.threads)
        case NoEmbedderSettings():
            return None
        case _:
            assert_never(settings)


def build_flow(settings: FlowSettings) -> Estimator | None:
    """The flow estimator; None where motion is predicted only."""
    return load_flow(flow_kind(settings), device=settings.device)


def load_flow(kind: str, *, device: str) -> Estimator | None:
    """The estimator that `flow_kind` names; None where nothing is estimated."""
    if kind == "none":
        return None
    from flow import load_estimator

    return load_estimator(kind, device=device)


def flow_kind(settings: FlowSettings, *, share: float = 1.0) -> str:
    """The estimator that settings mean: ``auto`` is the best one whose cost fits the budget, and known before the run.

    Args:
        share: of the frames that flow looks at.
    """
    if settings.model is not None:
        return settings.model
    if settings.kind != "auto":
        return settings.kind
    for kind, cost_ms in FLOW_MS.items():
        if cost_ms * share <= settings.budget_ms and _is_here(kind):
            return kind
    return "none"


def flow_kinds(site: Site) -> dict[str, str]:
    """Which estimator every camera with pictures gets."""
    kinds = {}
    for camera_id, camera in site.cameras.items():
        if not is_recorded(camera.url):
            keyframes = camera.keyframes or site.keyframes
            share = 1 / busy_gap(keyframes) if keyframes.carry == "keys" else 1.0
            kinds[camera_id] = flow_kind(camera.flow or site.flow, share=share)
    return kinds


def build_flows(site: Site, camera_ids: Sequence[str] | None = None) -> dict[str, Estimator]:
    """The flow estimators of a site's cameras (default: all); one object for all cameras of a kind.

    A camera without pictures, or whose motion is predicted only, is left out.
    """
    built: dict[tuple[str, str], Estimator | None] = {}
    flows = {}
    for camera_id, kind in flow_kinds(site).items():
        if camera_ids is not None and camera_id not in camera_ids:
            continue
        settings = site.cameras[camera_id].flow or site.flow
        key = kind, settings.device
        if key not in built:
            built[key] = load_flow(kind, device=settings.device)
        if (estimator := built[key]) is not None:
            flows[camera_id] = estimator
    return flows


def _is_here(kind: str) -> bool:
    """Can an estimator be loaded on this machine?"""
    if kind == "dis":
        return True
    try:
        models.locate(f"flow_{kind}")
    except models.ModelError:
        return False
    return True


def build_pipeline(camera_id: str, site: Site, run: int = 0, model_hash: str = "") -> CameraPipeline:
    """One camera's step. ``model_hash`` names the embedder."""
    camera = site.cameras[camera_id]
    plan = build_plan(camera.calibration)
    tracker = CameraTracker(
        camera_id, track_settings(site, camera), run=run, model_hash=model_hash, plan=plan
    )
    return CameraPipeline(
        camera_id,
        tracker=tracker,
        run=run,
        plan=plan,
        regions=[np.array(polygon) for polygon in camera.regions],
        ignore=[np.array(polygon) for polygon in camera.ignore],
        mask=_mask(camera_id, camera),
        keyframes=camera.keyframes or site.keyframes,
    )


def track_settings(site: Site, camera: CameraSettings) -> TrackSettings:
    """The tracker's settings with the detector's own idea of a sure score, where none is set."""
    settings = site.track
    if (
        settings.sure_score is None
        and not camera.brings_detections
        and isinstance(site.detector, OnnxDetectorSettings)
    ):
        card = models.find(site.detector.model).card
        sure = card.details.get("sure_score") if card is not None else None
        if sure is not None:
            settings = settings.model_copy(update={"sure_score": float(sure)})
    return settings


def build_plan(calibration: Calibration | None) -> FloorPlan | None:
    """The way from a camera's picture to the floor."""
    if calibration is None:
        return None
    if calibration.homography is not None:
        return FloorPlan(np.array(calibration.homography))
    K, R, t, distortion = calibration.K, calibration.R, calibration.t, calibration.distortion
    return FloorPlan.of_camera(np.array(K), np.array(distortion), np.array(R), np.array(t))


def build_linker(site: Site) -> Linker:
    """The linker, with what the embedder's card says of its distances."""
    return Linker(
        site.link,
        site=site.number,
        appearance=build_appearance(site.embedder),
        site_model=None if site.link.site_model is None else _site_model(Path(site.link.site_model)),
    )


def _site_model(path: Path) -> SiteModel:
    from tracker.io.store import load_site

    model = load_site(path)
    if model is None:
        raise UserError(f"link.site_model: {path}: no such file")
    return model


def build_appearance(settings: EmbedderSettings) -> AppearanceModel:
    """What distances mean: from the embedder's card, else the usual."""
    if isinstance(settings, OnnxEmbedderSettings):
        card = models.find(settings.model).card
        details: dict[str, Any] = dict(card.details.get("distances", {})) if card is not None else {}
        known: dict[str, Any] = {
            k: float(details[k]) for k in ("same", "different_sigma", "common") if k in details
        }
        return AppearanceModel(**known)
    return AppearanceModel()


def _mask(camera_id: str, camera: CameraSettings) -> NDArray[np.bool_] | None:
    if camera.mask is None:
        return None
    picture = cv2.imread(camera.mask, cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise UserError(f"cameras.{camera_id}.mask: {camera.mask} is no readable picture")
    return np.asarray(picture > 127)
