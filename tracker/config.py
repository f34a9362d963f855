"""Settings: typed fields with unit, range and reason; ``load(path)`` lists every mistake with its place.

A site file is YAML and holds values only. ``${NAME}`` in a string is taken from the environment, so that
passwords need not stand in the file; they are never printed.
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from configs.reading import read_yaml
from tracker.errors import UserError, holds_password

log = logging.getLogger(__name__)

Polygon = list[tuple[float, float]]
CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Settings(BaseModel):
    """Frozen, and refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Calibration(Settings):
    """Where a camera stands: either K, distortion, R, t (world -> camera, metres, floor z = 0) or a homography."""

    K: list[list[float]] | None = None  # (3, 3) pixels
    distortion: list[float] = Field(default_factory=list)  # 0, 4, 5 or 8 numbers, OpenCV's order
    R: list[list[float]] | None = None  # (3, 3) world -> camera
    t: list[float] | None = None  # (3,) metres
    homography: list[list[float]] | None = None  # (3, 3) floor_from_image, metres

    @model_validator(mode="after")
    def _complete(self) -> Calibration:
        if self.homography is not None:
            if self.K is not None or self.R is not None or self.t is not None:
                raise ValueError("give either a homography or K, R and t, not both")
            _matrix(self.homography, "homography")
            return self
        if self.K is None or self.R is None or self.t is None:
            raise ValueError("needs K, R and t, or a homography")
        _matrix(self.K, "K")
        R = _matrix(self.R, "R")
        if not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
            raise ValueError("R is no rotation (R R^T must be 1, det R = 1)")
        if len(self.t) != 3:
            raise ValueError("t must have 3 numbers (metres)")
        if len(self.distortion) not in (0, 4, 5, 8):
            raise ValueError("distortion must have 0, 4, 5 or 8 numbers")
        return self


def _matrix(rows: list[list[float]], name: str) -> NDArray[np.float64]:
    try:
        matrix = np.array(rows, float)
    except ValueError:
        matrix = np.zeros(0)
    if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 1e-12:
        raise ValueError(f"{name} must be an invertible 3 x 3 matrix")
    return matrix


def is_recorded(url: str) -> bool:
    """Does a location name recorded detections instead of pictures?"""
    return url.lower().endswith((".npz", "det.txt"))


class FlowSettings(Settings):
    """Dense motion between a camera's pictures."""

    kind: Literal["auto", "base", "tiny", "dis", "none"] = "dis"  # auto: the best that the budget allows
    budget_ms: float = Field(
        6.0, gt=0, le=1000
    )  # auto: milliseconds of one core that a frame's flow may take
    model: str | None = Field(
        None, pattern=r"\.onnx$"
    )  # a network of python -m flow export, in place of kind's
    device: Literal["auto", "cpu", "cuda"] = "auto"  # of a network; named: that one or an error


class KeyframeSettings(Settings):
    """Frames that the detector and the embedder look at; between them boxes are carried."""

    every: int = Field(1, ge=1, le=100)  # frames from one keyframe to the next, at most
    adaptive: bool = False  # sooner where tracks are new, uncertain, missed or crowded
    carry: Literal["step", "gap", "keys"] = (
        "step"  # flow from frame to frame; from the last keyframe to each frame;
    )
    #                                                 or from keyframe to keyframe only, with prediction between


class CameraSettings(Settings):
    """One camera: where its pictures come from and what of them counts."""

    url: str  # file, folder, glob, rtsp://..., or a webcam's number
    start: str | float | None = None  # ISO time, or seconds after the earliest camera; default: see docs
    fps: float | None = Field(None, gt=0, le=1000)  # for image folders, and where a container lies
    detections: str | None = None  # recorded detections (MOT det.txt or npz) instead of the detector
    recorded_score: float | None = Field(None, ge=0, le=1)  # replaces the scores of recorded detections
    calibration: Calibration | None = None
    regions: list[Polygon] = Field(
        default_factory=list
    )  # pixels; people's feet must be in one (none: everywhere)
    ignore: list[Polygon] = Field(default_factory=list)  # pixels; feet in one of these are not looked at
    mask: str | None = None  # a picture; black = ignored
    timeout_s: float = Field(5.0, gt=0, le=300)  # a live camera silent for this long has failed
    flow: FlowSettings | None = None  # this camera's own; default: the site's
    keyframes: KeyframeSettings | None = None  # this camera's own; default: the site's

    @property
    def brings_detections(self) -> bool:
        """Are its detections recorded, beside its pictures or without any?"""
        return self.detections is not None or is_recorded(self.url)

    @field_validator("url", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("regions", "ignore")
    @classmethod
    def _polygons(cls, value: list[Polygon]) -> list[Polygon]:
        if any(len(polygon) < 3 for polygon in value):
            raise ValueError("a polygon needs at least 3 points [x, y]")
        return value


class OnnxDetectorSettings(Settings):
    """A network that finds people."""

    kind: Literal["onnx"] = "onnx"
    model: str = "nanodet_g_person"  # a name from `models list`, or the path of an ONNX file with a card
    device: Literal["auto", "cpu", "cuda"] = "auto"  # named: that one or an error
    threads: int = Field(1, ge=1, le=64)  # a second intra-op thread gains nothing on small networks
    min_score: float = Field(0.1, gt=0, lt=1)  # weaker boxes are noise even for the second association


class RecordedDetectorSettings(Settings):
    """Every camera brings recorded detections."""

    kind: Literal["recorded"] = "recorded"


DetectorSettings = Annotated[OnnxDetectorSettings | RecordedDetectorSettings, Field(discriminator="kind")]


class OnnxEmbedderSettings(Settings):
    """A network that says what a person looks like."""

    kind: Literal["onnx"] = "onnx"
    model: str = "research"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(1, ge=1, le=64)


class NoEmbedderSettings(Settings):
    """Appearance is not used (or comes recorded)."""

    kind: Literal["none"] = "none"


EmbedderSettings = Annotated[OnnxEmbedderSettings | NoEmbedderSettings, Field(discriminator="kind")]


class TrackSettings(Settings):
    """One camera's tracker. Durations are seconds, so they hold at any frame rate."""

    sure_score: float | None = Field(
        None, gt=0, lt=1
    )  # a person for sure; default: the detector's card, else 0.6
    start_score: float | None = Field(
        None, gt=0, lt=1
    )  # may start a track; default: a quarter of the way to 1
    confirm_s: float = Field(0.2, ge=0)  # a track must be seen over this span before it is told
    lost_s: float = Field(3.0, gt=0)  # how long an unseen track waits to be taken up again
    coast_s: float = Field(0.5, ge=0)  # how long it is carried by prediction where it should be
    min_iou: float = Field(0.1, ge=0, lt=1)  # smallest overlap with the predicted box that can be the same
    revive_share: float = Field(
        0.5, gt=0, le=1
    )  # looks up to this share of the way to a stranger's revive a lost track
    duplicate_iou: float = Field(0.35, gt=0, le=1)  # boxes that overlap more are one person
    duplicate_cover: float = Field(
        0.75, gt=0, le=1.5
    )  # a box so far inside a surer one is a part of the same person
    appearance_weight: float = Field(0.5, ge=0, le=1)  # share of the embedding in the cost
    prototypes: int = Field(8, ge=1, le=8)  # diverse pictures remembered per track
    embed_every_s: float = Field(0.25, ge=0)  # a track that is sure of itself is embedded this often
    rest_load: float = Field(0.85, gt=0)  # share of the time budget from which the detector may rest


class LinkSettings(Settings):
    """The linker. What is near and what is far it learns from the site itself."""

    false_merge_rate: float = Field(
        0.05, gt=0, lt=1
    )  # wanted share of wrong ones among joined tracklets, at most; thresholds follow from it
    site_model: str | None = None  # file of what an earlier run has learned of the site, to begin with
    max_gap_s: float = Field(
        120.0, gt=0
    )  # longest walk between two cameras; who is away for longer came from anywhere
    revise_s: float = Field(300.0, gt=0)  # how far back decisions are looked at again
    revise_every_s: float = Field(1.0, gt=0)  # how often
    leave_s: float = Field(5.0, gt=0)  # unseen for this long: `left`
    return_log_odds: float = Field(
        -10.0, ge=-20, le=5
    )  # of coming back into the view one has left by its edge
    stitch_s: float = Field(
        3.0, gt=0
    )  # pieces of one camera's tracks this close in time are joined by motion
    remember_s: float = Field(
        86_400.0, gt=0
    )  # whoever comes back within this time is recognised; then what they look like is deleted
    max_identities: int = Field(20_000, ge=10)  # the longest unseen are forgotten first


class BusSettings(Settings):
    """ZeroMQ endpoints."""

    ingest: str = "tcp://127.0.0.1:5555"  # workers push updates here
    events: str = "tcp://127.0.0.1:5556"  # subscribers listen here
    replay: str = "tcp://127.0.0.1:5557"  # what was missed is asked for here
    boxes: str = "tcp://127.0.0.1:5558"  # every frame's boxes; lossy, not logged
    keys: str | None = None  # folder of CURVE keys
    insecure: bool = False  # allow endpoints other machines can reach without keys
    peer_rate: float = Field(2000.0, ge=10)  # messages a second from one key; more are dropped and counted


class LiveSettings(Settings):
    """Live cameras."""

    workers: int = Field(0, ge=0, le=64)  # 0: one per core, at most one per camera
    patience_s: float = Field(1.0, gt=0)  # how long a silent camera may hold back the others
    stalled_after_s: float = Field(5.0, gt=0)  # no frame for this long: the camera is lost
    hardware_decode: Literal["auto", "off"] = (
        "off"  # auto: a device that can decodes network cameras' video; it costs each its memory there
    )
    out: str = "live_out"  # log, checkpoints, metrics
    http: str | None = Field(
        "127.0.0.1:5559", pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}$"
    )  # health and metrics for whoever watches
    http_insecure: bool = False  # allow an address that other machines can reach


class StoreSettings(Settings):
    """What is kept, and for how long."""

    keep_days: float = Field(8.0, gt=0)  # events older than this are deleted
    keep_mib: float = Field(4096.0, ge=1)  # of a larger log the oldest events are deleted
    checkpoint_s: float = Field(10.0, gt=0)  # how often the linker's state is saved
    keep_tapes: bool = (
        False  # keep all that the linker heard, looks included, for link.remember_s: for `replay`
    )


class ProcessSettings(Settings):
    """Recorded footage."""

    fill_gaps_s: float = Field(1.0, ge=0)  # boxes are interpolated over gaps this short in the final tracks
    reach_s: float = Field(
        10.0, ge=0
    )  # final tracks are carried on for so long over weak detections that nobody has, both ways; 0: not at all


class Site(Settings):
    """One place with its cameras."""

    name: str = "site"
    number: int = Field(0, ge=0, lt=1 << 15)  # part of every global id, so that sites never share one
    cameras: dict[str, CameraSettings]
    detector: DetectorSettings = OnnxDetectorSettings()
    embedder: EmbedderSettings = OnnxEmbedderSettings()
    flow: FlowSettings = FlowSettings()
    keyframes: KeyframeSettings = KeyframeSettings()
    track: TrackSettings = TrackSettings()
    link: LinkSettings = LinkSettings()
    bus: BusSettings = BusSettings()
    live: LiveSettings = LiveSettings()
    store: StoreSettings = StoreSettings()
    process: ProcessSettings = ProcessSettings()

    @field_validator("cameras")
    @classmethod
    def _names(cls, value: dict[str, CameraSettings]) -> dict[str, CameraSettings]:
        if not value:
            raise ValueError("at least one camera is needed")
        for name in value:
            if not CAMERA_NAME.fullmatch(name):
                raise ValueError(f"camera name {name!r}: letters, digits, '.', '_' and '-' only, 64 at most")
        return value


def load(path: Path | str, overrides: Sequence[str] = ()) -> Site:
    """The site of a YAML file. Calibrations may be named as files beside it.

    Args:
        overrides: ``name.name=value`` lines that replace values of the file.

    Raises:
        UserError: every mistake of the file, each with its place.
    """
    path = Path(path)
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the path of a site file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f"{path}:{where.line + 1}:{where.column + 1}" if where else str(path)
        raise UserError(f"{place}: no valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a site file is a mapping with at least 'cameras:'")
    if os.name == "posix" and path.stat().st_mode & 0o004 and _holds_password(values):
        log.warning(
            "%s: others can read this file, and a password stands in it: chmod 600 it, or write ${NAME} and put the "
            "password into the environment",
            path,
        )
    return from_values(values, source=str(path), folder=path.parent, overrides=overrides)


def from_values(
    values: Mapping[str, Any], *, source: str, folder: Path = Path(), overrides: Sequence[str] = ()
) -> Site:
    """A site from plain values; relative paths in them are looked up from ``folder``."""
    mistakes: list[str] = []
    plain = _from_environment(dict(values), mistakes, "")
    for override in overrides:
        _override(plain, override)
    for part in ("detector", "embedder"):
        if isinstance(plain.get(part), dict):
            plain[part] = {"kind": "onnx", **plain[part]}
    link = plain.get("link")
    if isinstance(link, dict) and isinstance(link.get("site_model"), str):
        link["site_model"] = str(folder / link["site_model"])
    cameras = plain.get("cameras")
    if isinstance(cameras, dict):
        for name, camera in cameras.items():
            if isinstance(camera, str | int) and not isinstance(camera, bool):
                camera = cameras[name] = {"url": str(camera)}
            if isinstance(camera, dict):
                _resolve(camera, folder, mistakes, f"cameras.{name}")
    site: Site | None = None
    try:
        site = Site.model_validate(plain)
    except ValidationError as error:
        mistakes += [_mistake(e, plain) for e in error.errors()]
    if mistakes or site is None:
        raise UserError("\n".join(f"{source}: {m}" for m in mistakes))
    return site


def read_calibration(path: Path | str) -> dict[str, Any]:
    """The values of a calibration file (JSON); what it says beyond ours is left out.

    Raises:
        UserError: no such file, or no calibration in it.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such calibration file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no readable JSON ({error})") from None
    known = (
        {k: v for k, v in values.items() if k in Calibration.model_fields} if isinstance(values, dict) else {}
    )
    try:
        Calibration.model_validate(known)
    except ValidationError as error:
        raise UserError(f"{path}: {_mistake(error.errors()[0], known)}") from None
    return known


def site_from_arguments(
    cameras: Sequence[tuple[str, str]],
    *,
    offsets: Mapping[str, float] | None = None,
    detections: Mapping[str, str] | None = None,
    calibrations: Mapping[str, str] | None = None,
    recorded_score: float | None = None,
    overrides: Sequence[str] = (),
) -> Site:
    """The site that ``process hall=a.mp4 yard=b.mp4`` describes."""
    values: dict[str, Any] = {"cameras": {}}
    for name, url in cameras:
        if name in values["cameras"]:
            raise UserError(f"camera {name!r} is given twice; name each once: NAME=FILE")
        values["cameras"][name] = {"url": url}
    options: tuple[tuple[str, Mapping[str, Any] | None], ...] = (
        ("start", offsets),
        ("detections", detections),
        ("calibration", calibrations),
    )
    for field, given in options:
        for name, value in (given or {}).items():
            if name not in values["cameras"]:
                raise UserError(
                    f"{name}={value}: there is no camera {name!r} (cameras: {', '.join(values['cameras'])})"
                )
            values["cameras"][name][field] = value
    if recorded_score is not None:
        for camera in values["cameras"].values():
            camera["recorded_score"] = recorded_score
    return from_values(values, source="arguments", overrides=overrides)


def _resolve(camera: dict[str, Any], folder: Path, mistakes: list[str], place: str) -> None:
    for field in ("url", "detections", "mask"):
        value = camera.get(field)
        if isinstance(value, str) and "://" not in value and not value.isdecimal():
            camera[field] = str(folder / value)
    if isinstance(camera.get("calibration"), str):
        try:
            camera["calibration"] = read_calibration(folder / camera["calibration"])
        except UserError as error:
            mistakes.append(f"{place}.calibration: {error}")
            del camera["calibration"]


def holds_passwords(path: Path) -> bool:
    """Whether a password stands in a sound site file in so many words."""
    return _holds_password(read_yaml(path.read_text(encoding="utf-8")))


def _holds_password(values: Mapping[str, Any]) -> bool:
    cameras = values.get("cameras")
    given = cameras.values() if isinstance(cameras, dict) else ()
    urls = [camera.get("url") if isinstance(camera, dict) else camera for camera in given]
    return any(isinstance(url, str) and holds_password(url) for url in urls)


def _from_environment(value: Any, mistakes: list[str], place: str) -> Any:
    if isinstance(value, dict):
        return {k: _from_environment(v, mistakes, f"{place}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list):
        return [_from_environment(v, mistakes, f"{place}.{i}") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            mistakes.append(f"{place}: the environment has no {match[1]}")
        return os.environ.get(match[1], "")

    return re.sub(r"\$\{(\w+)\}", found, value)


def _override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"--set {override}: write it as name.name=value")
    *path, last = name.strip().split(".")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {override}: {part} has no fields")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: {text!r} is no value") from None


def _mistake(error: Any, values: Any) -> str:
    path = [p for p in error["loc"] if p not in ("onnx", "recorded", "none") or not _is_tag(p, error["loc"])]
    place = ".".join(map(str, path)) or "site"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _names_at(path[:-1]), n=1)
        return f"{place}: unknown name" + (f"; did you mean {near[0]}?" if near else "")
    if error["type"] == "missing":
        return f"{place}: is missing"
    message = error["msg"]
    if error["type"] == "value_error":  # our own words: R and K are not r and k
        return f"{place}: {message.removeprefix('Value error, ')}"
    return f"{place}: {message[0].lower()}{message[1:]}"


def _is_tag(part: Any, loc: Sequence[Any]) -> bool:
    return loc.index(part) == 1 and loc[0] in ("detector", "embedder")


def _names_at(path: Sequence[Any]) -> list[str]:
    """The field names that would have been right at this place."""
    model: type[BaseModel] = Site
    if len(path) >= 1 and path[0] == "cameras":
        parts: dict[str, type[BaseModel]] = {
            "calibration": Calibration,
            "flow": FlowSettings,
            "keyframes": KeyframeSettings,
        }
        model = parts.get(str(path[2]), CameraSettings) if len(path) > 2 else CameraSettings
    elif path and path[0] == "detector":
        model = OnnxDetectorSettings
    elif path and path[0] == "embedder":
        model = OnnxEmbedderSettings
    elif path:
        found = Site.model_fields.get(str(path[0]))
        if (
            found is not None
            and isinstance(found.annotation, type)
            and issubclass(found.annotation, BaseModel)
        ):
            model = found.annotation
    return list(model.model_fields)
