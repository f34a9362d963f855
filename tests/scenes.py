"""Made-up people in made-up cameras: boxes, looks, tracklets and whole visits, from a seed.

Small cases are made by hand. Whole scenes, simulated and without a picture, come from `benchmarks.filmed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from scenes.appearance import Appearance, Noise
from tracker.config import TrackSettings
from tracker.core.camera_tracker import CameraTracker
from tracker.core.ledger import Ledger
from tracker.core.linker import Linker
from tracker.core.pipeline import Answers, CameraPipeline
from tracker.types import (
    CONFIRMED,
    CameraUpdate,
    Detections,
    Event,
    LinkerInput,
    TrackKey,
    Tracklet,
    Tracks,
)

S = 10**9
DIM = 32
SIZE = (1000, 600)  # width and height of every picture here


def at(seconds: float) -> int:
    """Seconds as capture time."""
    return round(seconds * S)


def look(person: int, angle: float = 0.0, dim: int = DIM) -> NDArray[np.float32]:
    """(dim,) unit row of a person, turned ``angle`` radians away from their usual look.

    Two people are at distance 1 from each other, whatever the angles below pi / 2 are; two looks of one person are at
    ``1 - cos(difference of the angles)``.
    """
    row = np.zeros(dim, np.float32)
    row[2 * person % dim], row[(2 * person + 1) % dim] = np.cos(angle), np.sin(angle)
    return row


def blurred(row: NDArray[np.floating], rng: np.random.Generator, sigma: float = 0.05) -> NDArray[np.float32]:
    """(D,) the same look in another picture: noise of ``sigma`` a dimension, unit length again."""
    noisy = row + rng.normal(0, sigma, len(row))
    return (noisy / np.linalg.norm(noisy)).astype(np.float32)


def person_box(x: float, foot_y: float = 400.0, height: float = 200.0) -> NDArray[np.float32]:
    """(4,) box of somebody standing at (x, foot_y), 0.4 as wide as high."""
    return np.array([x - 0.2 * height, foot_y - height, x + 0.2 * height, foot_y], np.float32)


def seen(
    boxes: Sequence[NDArray[np.floating]],
    looks: Sequence[NDArray[np.floating]] | None = None,
    scores: Sequence[float] | float = 0.9,
) -> Detections:
    """Detections of these boxes, all embedded if there are looks."""
    n = len(boxes)
    rows = np.array(boxes, np.float32).reshape(n, 4)
    found = Detections.of(rows, np.broadcast_to(np.asarray(scores, np.float32), (n,)).copy())
    return found if looks is None or not n else found.with_embeddings(np.arange(n), np.stack(looks))


def tracklet(
    camera: str,
    number: int,
    first_s: float,
    last_s: float,
    row: NDArray[np.floating] | None = None,
    *,
    first_box: NDArray[np.floating] | None = None,
    last_box: NDArray[np.floating] | None = None,
    velocity: tuple[float, float] = (0.0, 0.0),
    pictures: int = 12,
    revision: int = 1,
    ended: bool = False,
    model_hash: str = "m",
    run: int = 0,
) -> Tracklet:
    """What one camera knows of one person. Boxes touch the picture's left edge unless they are given."""
    edge = np.array([0, 200, 80, 400], np.float32)
    rows = np.zeros((0, 0)) if row is None else np.asarray(row)[None]
    return Tracklet(
        key=TrackKey(camera_id=camera, run=run, number=number),
        revision=revision,
        ended=ended,
        t_first_ns=at(first_s),
        t_last_ns=at(last_s),
        first_box=np.array(edge if first_box is None else first_box, np.float32),
        last_box=np.array(edge if last_box is None else last_box, np.float32),
        velocity_px_s=np.array(velocity, np.float32),
        image_size=SIZE,
        boxes_seen=max(1, round((last_s - first_s) * 10)),
        score_mean=0.9,
        prototypes=rows.astype(np.float16),
        quality=np.ones(len(rows), np.float32),
        mean_embedding=np.zeros(0, np.float32) if row is None else np.array(row, np.float32),
        embeddings_seen=0 if row is None else pictures,
        model_hash=model_hash,
    )


def nobody() -> Tracks:
    """A camera that sees nobody."""
    return Tracks.of(np.zeros(0), np.zeros((0, 4)), np.zeros(0))


def update(
    camera: str,
    t_s: float,
    tracklets: Iterable[Tracklet] = (),
    here: Sequence[tuple[int, NDArray[np.floating]]] = (),
    *,
    seq: int = 0,
    run: int = 0,
    floor: Sequence[tuple[float, float]] | None = None,
) -> CameraUpdate:
    """One frame: changed tracklets, and (number, box) of who is seen in it, at which place on the floor in metres."""
    tracks = nobody()
    if here:
        tracks = Tracks.of(
            np.array([number for number, _ in here]),
            np.stack([box for _, box in here]),
            np.full(len(here), CONFIRMED),
            detections=np.arange(len(here)),
        )
    if floor is not None:
        tracks = msgspec.structs.replace(
            tracks,
            floor_xy_m=np.array(floor, np.float32).reshape(len(here), 2),
            floor_sigma_m=np.full(len(here), 0.1, np.float32),
        )
    return CameraUpdate(
        camera_id=camera,
        run=run,
        seq=seq,
        t_ns=at(t_s),
        tracks=tracks,
        tracklets=tuple(tracklets),
        detected=True,
    )


def heard(messages: Iterable[LinkerInput], linker: Linker) -> tuple[Ledger, list[Event]]:
    """What a linker says of some messages, and whose every tracklet is then."""
    ledger, events = Ledger(), list[Event]()
    for message in messages:
        for event in linker.step(message):
            ledger.follow(event)
            events.append(event)
    return ledger, events


def of_kind(events: Iterable[Event], kind: type) -> list:
    """The events of one kind, in order."""
    return [event for event in events if isinstance(event, kind)]


@dataclass(frozen=True)
class Visit:
    """Somebody walks through one camera's picture from edge to edge, or turns round in the middle of it."""

    person: int
    camera: str
    start_s: float
    speed_px_s: float  # negative: from right to left
    foot_y: float
    height: float = 150.0

    @property
    def stop_s(self) -> float:
        return self.start_s + SIZE[0] / abs(self.speed_px_s)

    def box(self, t_s: float) -> NDArray[np.float32] | None:
        """Where they are; None when they are not in the picture."""
        if not self.start_s <= t_s <= self.stop_s:
            return None
        walked = abs(self.speed_px_s) * (t_s - self.start_s)
        box = person_box(walked if self.speed_px_s > 0 else SIZE[0] - walked, self.foot_y, self.height)
        return np.clip(box, 0, [SIZE[0], SIZE[1], SIZE[0], SIZE[1]]).astype(np.float32)


def random_visits(
    rng: np.random.Generator, *, people: int = 4, cameras: Sequence[str] = ("a", "b"), rounds: int = 3
) -> list[Visit]:
    """Everybody goes from camera to camera with pauses between; some meet in one picture."""
    visits = []
    for person in range(people):
        t_s = float(rng.uniform(0, 4))
        for _ in range(rounds):
            camera = cameras[int(rng.integers(len(cameras)))]
            speed = float(rng.uniform(250, 450) * rng.choice([-1, 1]))
            visit = Visit(person, camera, t_s, speed, 250.0 + 80 * person)
            visits.append(visit)
            t_s = visit.stop_s + float(rng.uniform(1, 6))
    return visits


def camera_updates(
    visits: Sequence[Visit],
    rng: np.random.Generator,
    *,
    fps: float = 10.0,
    sigma: float = 0.06,
    noise: Noise | None = None,
) -> dict[str, list[CameraUpdate]]:
    """What real camera trackers make of the visits: one stream a camera, each closed at its end.

    Looks tell everybody apart, `blurred` by ``sigma``, or err as ``noise`` says: they are mistaken now and then.
    """
    out: dict[str, list[CameraUpdate]] = {}
    cameras = sorted({v.camera for v in visits})
    looks = (
        None if noise is None else Appearance(sorted({v.person for v in visits}), cameras, rng, noise=noise)
    )
    stop_s = max(v.stop_s for v in visits) + 0.5
    for camera in cameras:
        tracker = CameraTracker(camera, TrackSettings(), image_size=SIZE, model_hash="m")
        pipeline = CameraPipeline(camera, tracker=tracker)
        updates = []
        frames = int(stop_s * fps)
        for seq in range(frames):
            t_s = seq / fps
            here = [(v, box) for v in visits if v.camera == camera and (box := v.box(t_s)) is not None]
            here = [(v, box) for v, box in here if box[2] - box[0] > 10]
            boxes = [box + rng.normal(0, 1.0, 4) for _, box in here]
            if looks is None:
                rows = [blurred(look(v.person), rng, sigma) for v, _ in here]
            else:
                sides = [0.5 * np.pi * np.sign(v.speed_px_s) for v, _ in here]
                rows = list(looks.rows(camera, t_s, [v.person for v, _ in here], rng, seen_from_rad=sides))
            updates.append(pipeline.finish(seq, at(t_s), Answers(detections=seen(boxes, rows))))
        updates.append(pipeline.end(frames, at(frames / fps)))
        out[camera] = updates
    return out


class Crowd:
    """People who walk to and fro on 10 m x 10 m before three cameras at 2 frames a second; tracks last for 2 s."""

    def __init__(
        self, seed: int, people: int = 8, seconds: float = 20, sigma_m: float = 0.08, dropped: float = 0.2
    ):
        rng = np.random.default_rng(seed)
        self.frames: list[tuple[str, float, list[TrackKey], np.ndarray]] = []
        self.person: dict[TrackKey, int] = {}
        place = rng.uniform(0, 10, (people, 2))
        angle = rng.uniform(0, 2 * np.pi, people)
        speed = rng.uniform(0.4, 1.3, people)[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
        shift = rng.integers(0, 4, (3, people))  # when tracks begin
        for n in range(int(seconds * 2)):
            speed *= np.where((place < 0) & (speed < 0) | (place > 10) & (speed > 0), -1, 1)
            place = place + 0.5 * speed
            for c, camera in enumerate("abc"):
                here = np.flatnonzero(rng.random(people) >= dropped)
                keys = [
                    TrackKey(camera_id=camera, run=0, number=int(100 * p + (n + shift[c, p]) // 4))
                    for p in here
                ]
                self.person.update(zip(keys, here.tolist(), strict=True))
                self.frames.append(
                    (camera, n / 2, keys, place[here] + rng.normal(0, sigma_m, (len(here), 2)))
                )


def in_time_order(streams: dict[str, list[CameraUpdate]]) -> list[CameraUpdate]:
    """All cameras' updates as ``process`` would take them."""
    return sorted(
        (u for stream in streams.values() for u in stream), key=lambda u: (u.t_ns, u.camera_id, u.seq)
    )
