"""Recorded footage -> tracks with final identities, events as they were published, and what really ran.

Capture runs ahead of inference in one thread a camera, over a bounded queue; nothing is dropped. Frames are taken in
the order of their capture time, so that the same files give the same bytes. No whole run is kept in memory: every
frame's boxes are spooled to disk and written with their final identities once at the end. The answers of the networks
are spooled too, so that an interrupted run goes on from where it was with the same result.
"""

from __future__ import annotations

import heapq
import json
import logging
import os
import platform
import queue
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker import __version__
from tracker.build import (
    build_detector,
    build_embedder,
    build_flows,
    build_linker,
    build_pipeline,
    flow_kinds,
)
from tracker.config import KeyframeSettings, Site, is_recorded
from tracker.core.ledger import Ledger
from tracker.core.pipeline import Answers, ask_batch
from tracker.core.reach import Weak, reach, unclaimed
from tracker.errors import UserError, mask_url
from tracker.io.detectors import Recorded, load_recorded
from tracker.io.parallel import Spread
from tracker.io.sinks import JsonLinesSink, MotWriter, OverlayVideo
from tracker.io.sources import SECOND_NS, Recording, is_live, open_recording, probe
from tracker.io.store import save_site
from tracker.io.tape import TapeWriter
from tracker.types import (
    CONFIRMED,
    NO_DETECTION,
    Advance,
    CameraUpdate,
    Detections,
    Event,
    Frame,
    LinkerInput,
    TrackKey,
    array_to_plain,
    plain_to_array,
)

log = logging.getLogger(__name__)

AHEAD_FRAMES = 6  # decoded frames that may wait, per camera
SPOOL = np.dtype([("frame", "<i8"), ("number", "<i8"), ("box", "<f4", 4), ("score", "<f4"), ("t_ns", "<i8")])
RUN_SCHEMA = 1
SITE_MODEL = "site_model.json"  # what the site has taught, in the results' folder
TAPE = "linker.tape"  # in the results' folder, with store.keep_tapes
NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


@dataclass
class Summary:
    """What came out of a run."""

    out: Path
    frames: dict[str, int]
    identities: int  # of whom it is sure enough that each is somebody else
    unsure: int  # others, who may be one of these
    events: int
    seconds: float
    starts: str  # how the cameras' times were aligned
    stages_s: dict[str, float]
    video: list[Path] = field(default_factory=list)

    @property
    def frames_per_s(self) -> float:
        return sum(self.frames.values()) / self.seconds if self.seconds > 0 else 0.0


class Stages:
    """Seconds spent in every stage of the main loop."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begun


def process(
    site: Site,
    out: Path,
    *,
    from_s: float = 0.0,
    to_s: float | None = None,
    resume: bool = False,
    video: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Summary:
    """Track everybody in a site's recordings.

    Args:
        out: folder for the results; made if it is not there.
        from_s, to_s: the part to process, in seconds from the earliest camera's start.
        resume: go on with an interrupted run in ``out`` instead of starting anew.
        video: also write annotated videos.
        progress: is told (frames done, frames in all or None) now and then.

    Raises:
        UserError: an input or ``out`` cannot be used; what was written before stays.
    """
    begun = time.perf_counter()
    run = _Run(site, out, from_s=from_s, to_s=to_s, resume=resume)
    with run:
        run.loop(progress)
        summary = run.write(begun)
    if video:
        summary.video = _write_videos(site, out, run.starts_ns, from_s, to_s)
    shutil.rmtree(out / ".spool")
    return summary


class _Run:
    """One run: its parts, its spool, its loop."""

    def __init__(self, site: Site, out: Path, *, from_s: float, to_s: float | None, resume: bool) -> None:
        self.site, self.out, self._from_s, self._to_s = site, out, from_s, to_s
        _refuse_live(site)
        self.starts_ns, self.starts_how = start_times(site)
        self._recorded = _recorded_inputs(site)
        self._prepare(resume)
        # OpenCV cuts its work by threads, and its results with it: one thread, the same bytes everywhere.
        cv2.setNumThreads(1)
        missing = ", ".join(c for c in site.cameras if c not in self._recorded)
        self.detector = build_detector(site.detector) if missing else None
        if missing and self.detector is None:
            raise UserError(
                f"detector: kind is recorded, but no detections are given for {missing}; "
                "name them as cameras.NAME.detections, or name a network as the detector"
            )
        self.embedder = build_embedder(site.embedder) if self._has_pixels() else None
        self._flows = build_flows(site)
        model_hash = self.embedder.model_hash if self.embedder else ""
        self._spread = Spread()
        self._pipelines = {c: build_pipeline(c, site, 0, self._hash_of(c, model_hash)) for c in site.cameras}
        self._see_recorded_sizes()
        self.linker = build_linker(site)
        self.ledger = Ledger()
        self.stages = Stages()
        self.frames: dict[str, int] = dict.fromkeys(site.cameras, 0)
        self._detected: dict[str, int] = dict.fromkeys(site.cameras, 0)
        self._last_key: dict[str, int] = {}  # camera -> seq of its last keyframe
        self._last: dict[str, tuple[int, int]] = {}  # camera -> last seq, t_ns
        self._sources: dict[str, Any] = {}
        self.events = 0
        self._seq = 0
        self._tape: TapeWriter | None = None

    def __enter__(self) -> _Run:
        self._stack = ExitStack()
        self._stack.enter_context(self._spread)
        spool = self.out / ".spool"
        tracks = self.out / "tracks_as_published"
        for folder in (spool, tracks, self.out / "tracks"):
            folder.mkdir(parents=True, exist_ok=True)
        self._boxes = {
            c: self._stack.enter_context(open(spool / f"{c}.boxes", "wb")) for c in self.site.cameras
        }
        self._seen = {
            c: self._stack.enter_context(open(spool / f"{c}.seen", "wb")) for c in self.site.cameras
        }
        self._published = {
            c: self._stack.enter_context(MotWriter(tracks / f"{c}.txt")) for c in self.site.cameras
        }
        self._log = JsonLinesSink(self.out / "events.jsonl")
        self._stack.callback(self._log.close)
        if self.site.store.keep_tapes:
            # An interrupted run's tape is written again: resuming tracks and links from the spooled answers.
            (self.out / TAPE).unlink(missing_ok=True)
            self._tape = self._stack.enter_context(TapeWriter(self.out / TAPE))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    # ---- the loop --------------------------------------------------------------------------------------------

    def loop(self, progress: Callable[[int, int | None], None] | None) -> None:
        """Every frame of every camera, in the order of capture."""
        done = self._replay_answers()
        sources = self._open_sources()
        total = self._expected(sources)
        with open(self.out / ".spool" / "answers", "ab", opener=_private) as answers:
            with _merged(sources, self.stages) as frames:
                for batch in _batches(frames, len(sources)):
                    skipped = [f for f in batch if f.seq <= done.get(f.camera_id, -1)]
                    self._prime(skipped, done)
                    fresh = [f for f in batch if f.seq > done.get(f.camera_id, -1)]
                    if fresh:
                        self._step(fresh, answers)
                    if progress is not None:
                        progress(sum(self.frames.values()), total)
        self._sources = sources
        if not self._last:
            raise UserError("there is no frame to process: --from and --to leave nothing of the recordings")
        self._end()

    def _step(self, batch: list[Frame], spool: BinaryIO) -> None:
        pipelines = [self._pipelines[f.camera_id] for f in batch]
        answers = ask_batch(
            pipelines,
            batch,
            detector=self._spread.detector(self.detector) if self.detector else None,
            embedder=self._spread.embedder(self.embedder) if self.embedder else None,
            motion=self._flows,
            recorded={c: r.frame for c, r in self._recorded.items()},
            stopwatch=self.stages,
        )
        with self.stages.measure("write"):
            write_answers(
                spool, [(f.camera_id, f.seq, f.t_ns, a) for f, a in zip(batch, answers, strict=True)]
            )
        for frame, answer in zip(batch, answers, strict=True):
            self._conclude(frame.camera_id, frame.seq, frame.t_ns, answer)

    def _conclude(self, camera_id: str, seq: int, t_ns: int, answers: Answers) -> None:
        self.frames[camera_id] += 1
        self._last[camera_id] = (seq, t_ns)
        if answers.detections is not None:
            self._detected[camera_id] += 1
            self._last_key[camera_id] = seq
        with self.stages.measure("track"):
            update = self._pipelines[camera_id].finish(seq, t_ns, answers)
        with self.stages.measure("link"):
            events = self._tell(update)
        with self.stages.measure("write"):
            self._publish(events)
            self._spool(update)
            if answers.detections is not None and self.site.process.reach_s > 0:
                self._spool_seen(camera_id, seq, t_ns, answers.detections)

    def _tell(self, message: LinkerInput) -> list[Event]:
        if self._tape is not None:
            self._tape.write(message)
        return self.linker.step(message)

    def _end(self) -> None:
        for camera_id in sorted(self._last):
            seq, t_ns = self._last[camera_id]
            self._publish(self._tell(self._pipelines[camera_id].end(seq, t_ns)))
        end_ns = max((t for _, t in self._last.values()), default=0)
        self._publish(self._tell(Advance(t_ns=end_ns, final=True)))

    def _publish(self, events: list[Event]) -> None:
        for event in events:
            self._seq += 1
            event = msgspec.structs.replace(event, seq=self._seq)
            self.ledger.follow(event)
            self._log.put(event)
            self.events += 1

    def _spool_seen(self, camera_id: str, seq: int, t_ns: int, detections: Detections) -> None:
        """All that was detected; a row without a box says that there was nothing."""
        out = np.zeros(max(len(detections), 1), SPOOL)
        out["frame"], out["t_ns"] = seq + 1, t_ns
        if len(detections):
            out["box"], out["score"] = detections.boxes, detections.scores
        self._seen[camera_id].write(out.tobytes())

    def _spool(self, update: CameraUpdate) -> None:
        tracks = update.tracks
        rows = np.flatnonzero(tracks.detections != NO_DETECTION)
        out = np.zeros(len(rows), SPOOL)
        out["frame"], out["t_ns"] = update.seq + 1, update.t_ns
        out["number"], out["box"], out["score"] = tracks.ids[rows], tracks.boxes[rows], tracks.scores[rows]
        self._boxes[update.camera_id].write(out.tobytes())
        for n in rows:
            if tracks.states[n] != CONFIRMED:
                continue
            key = TrackKey(camera_id=update.camera_id, run=update.run, number=int(tracks.ids[n]))
            global_id = self.ledger.identity_at(key, update.t_ns)
            if global_id is not None:
                self._published[update.camera_id].write(
                    _mot_row(update.seq + 1, global_id, tracks.boxes[n], tracks.scores[n])
                )

    # ---- resuming --------------------------------------------------------------------------------------------

    def _replay_answers(self) -> dict[str, int]:
        """Track and link again from the spooled answers; the last frame done of each camera."""
        done: dict[str, int] = {}
        for camera_id, seq, t_ns, answer in read_answers(self.out / ".spool" / "answers"):
            self._conclude(camera_id, seq, t_ns, answer)
            done[camera_id] = seq
        if done:
            log.info("resumed after %d frames", sum(self.frames.values()))
        return done

    def _prime(self, skipped: list[Frame], done: Mapping[str, int]) -> None:
        """Flow needs the picture that it starts from, out of what was done before."""
        for frame in skipped:
            flow, pipeline = self._flows.get(frame.camera_id), self._pipelines[frame.camera_id]
            start = self._last_key if pipeline.base_is_keyframe else done
            if flow is not None and frame.image.size and frame.seq == start.get(frame.camera_id):
                pipeline.prime(flow, frame.image)

    def _prepare(self, resume: bool) -> None:
        """The folder, and whether what lies in it is this run's."""
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"{self.out} is a file; -o needs a folder")
        spool = self.out / ".spool"
        fingerprint = json.dumps(self._fingerprint(), sort_keys=True)
        same = (spool / "run").is_file() and (spool / "run").read_text(encoding="utf-8") == fingerprint
        if resume and spool.exists() and not same:
            raise UserError(
                f"{self.out}: the interrupted run had other inputs or settings; leave out --resume"
            )
        if resume and not spool.exists() and (self.out / "run.json").is_file():
            raise UserError(f"{self.out}: the run there is complete; leave out --resume to do it again")
        if not resume and spool.exists():
            shutil.rmtree(spool)
        if not resume:
            _remove_results(self.out)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            # What people look like, and the cameras' passwords: for nobody else's eyes.
            spool.mkdir(mode=0o700, exist_ok=True)
            spool.chmod(0o700)
            (spool / "run").write_text(fingerprint, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.out} cannot be written to ({error.strerror})") from None

    def _fingerprint(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "site": self.site.model_dump(mode="json"),
            "flow": flow_kinds(self.site),  # auto: of what was on this machine when the run began
            "from_s": self._from_s,
            "to_s": self._to_s,
        }

    # ---- inputs ----------------------------------------------------------------------------------------------

    def _has_pixels(self) -> bool:
        return any(not is_recorded(c.url) for c in self.site.cameras.values())

    def _hash_of(self, camera_id: str, model_hash: str) -> str:
        recorded = self._recorded.get(camera_id)
        if recorded is None or not recorded.embedded:
            return model_hash
        return f"recorded:{recorded.dim}"

    def _see_recorded_sizes(self) -> None:
        for camera_id, recorded in self._recorded.items():
            if recorded.size is not None:
                self._pipelines[camera_id].see(recorded.size)

    def _open_sources(self) -> dict[str, Any]:
        sources: dict[str, Any] = {}
        zero_ns = min(self.starts_ns.values())
        for camera_id, camera in self.site.cameras.items():
            start_ns = self.starts_ns[camera_id]
            # --from and --to speak of the site's time, a source of its own.
            shift_s = (start_ns - zero_ns) / 1e9
            from_s = max(self._from_s - shift_s, 0.0)
            to_s = None if self._to_s is None else max(self._to_s - shift_s, 0.0)
            if is_recorded(camera.url):
                sources[camera_id] = RecordedSource(
                    camera_id,
                    self._recorded[camera_id],
                    start_ns=start_ns,
                    fps=camera.fps,
                    from_s=from_s,
                    to_s=to_s,
                )
            else:
                sources[camera_id] = open_recording(
                    camera_id, camera.url, start_ns=start_ns, fps=camera.fps, from_s=from_s, to_s=to_s
                )
        return sources

    def _keyframes(self, camera_id: str) -> KeyframeSettings:
        return self.site.cameras[camera_id].keyframes or self.site.keyframes

    def _expected(self, sources: Mapping[str, Any]) -> int | None:
        lengths = [s.length for s in sources.values()]
        return None if any(n is None for n in lengths) else sum(lengths)

    # ---- results ---------------------------------------------------------------------------------------------

    def write(self, begun: float) -> Summary:
        """Tracks with their final identities, who was where, and what ran."""
        for spool in (*self._boxes.values(), *self._seen.values()):
            spool.flush()
        visits: dict[int, list[dict[str, Any]]] = defaultdict(list)
        with self.stages.measure("write"):
            for camera_id in self.site.cameras:
                self._write_tracks(camera_id, visits)
            identities = [
                {
                    "global_id": g,
                    "unsure": self.ledger.is_unsure(g),
                    "visits": sorted(v, key=lambda x: (x["t_first_ns"], x["camera_id"])),
                }
                for g, v in sorted(visits.items())
            ]
            unsure = sum(self.ledger.is_unsure(g) for g in visits)
            write_json(self.out / "identities.json", {"schema_version": RUN_SCHEMA, "identities": identities})
        seconds = time.perf_counter() - begun
        save_site(self.out / SITE_MODEL, self.linker.site_model)
        write_json(self.out / "run.json", self._account(seconds, len(identities) - unsure, unsure))
        return Summary(
            self.out,
            dict(self.frames),
            len(identities) - unsure,
            unsure,
            self.events,
            seconds,
            self.starts_how,
            dict(self.stages.seconds),
        )

    def _write_tracks(self, camera_id: str, visits: dict[int, list[dict[str, Any]]]) -> None:
        rows = np.fromfile(self.out / ".spool" / f"{camera_id}.boxes", SPOOL)
        rows = rows[self._owners(camera_id, rows) > 0]
        if self.site.process.reach_s > 0:
            seen = np.fromfile(self.out / ".spool" / f"{camera_id}.seen", SPOOL)
            rows = np.concatenate((rows, reached(rows, seen, self.site.process.reach_s)))
        final = finished(rows, self._owners(camera_id, rows), self.site.process.fill_gaps_s)
        with MotWriter(self.out / "tracks" / f"{camera_id}.txt") as tracks:
            for row, global_id in final:
                tracks.write(_mot_row(int(row["frame"]), global_id, row["box"], float(row["score"])))
        for global_id, visit in _visits(camera_id, final):
            visits[global_id].append(visit)

    def _owners(self, camera_id: str, rows: NDArray[np.void]) -> NDArray[np.int64]:
        """Whose each box is in the end; 0: nobody's."""
        keys = {
            int(n): TrackKey(camera_id=camera_id, run=0, number=int(n)) for n in np.unique(rows["number"])
        }
        return np.array(
            [
                self.ledger.identity_at(keys[n], t_ns) or 0
                for n, t_ns in zip(rows["number"].tolist(), rows["t_ns"].tolist(), strict=True)
            ],
            np.int64,
        )

    def _account(self, seconds: float, identities: int, unsure: int) -> dict[str, Any]:
        kinds = flow_kinds(self.site)
        networks: dict[str, Any] = {"detector": self.detector, "embedder": self.embedder}
        networks |= {f"flow_{kinds[c]}": m for c, m in self._flows.items() if hasattr(m, "model_hash")}
        return {
            "schema_version": RUN_SCHEMA,
            "version": __version__,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": _versions(),
            "models": {
                role: {"name": m.name, "sha256": m.model_hash, "providers": list(m.providers)}
                for role, m in networks.items()
                if m is not None
            },
            "settings": json.loads(mask_url(json.dumps(self.site.model_dump(mode="json")))),
            "starts": self.starts_how,
            "starts_ns": self.starts_ns,
            "frames": {
                c: {
                    "read": self.frames[c] + int(getattr(self._sources[c], "corrupt", 0)),
                    "processed": self.frames[c],
                    "detected": self._detected[c],
                    "corrupt": int(getattr(self._sources[c], "corrupt", 0)),
                    "dropped": 0,
                }
                for c in self.site.cameras
            },
            "flow": {c: {"kind": kind, "carry": self._keyframes(c).carry} for c, kind in kinds.items()},
            "identities": identities,
            "unsure": unsure,
            "events": self.events,
            "seconds": round(seconds, 3),
            "frames_per_s": round(sum(self.frames.values()) / max(seconds, 1e-9), 2),
            "stages_s": {k: round(v, 3) for k, v in sorted(self.stages.seconds.items())},
        }


def _remove_results(out: Path) -> None:
    """Take away what an earlier run of ours left, so that no camera of it stands beside this run's."""
    if not (out / "run.json").is_file():
        return
    found = [p for f, kind in (("tracks", "txt"), ("tracks_as_published", "txt"), ("video", "mp4"))
             for p in (out / f).glob(f"*.{kind}")]  # fmt: skip
    try:
        for path in (
            *found,
            out / "events.jsonl",
            out / "identities.json",
            out / "run.json",
            out / TAPE,
            out / SITE_MODEL,
        ):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{out} holds an earlier run that cannot be removed ({error.strerror})") from None


def _write_videos(
    site: Site, out: Path, starts_ns: Mapping[str, int], from_s: float, to_s: float | None
) -> list[Path]:
    """A second pass over the pictures, drawn with the final identities."""
    written: list[Path] = []
    zero_ns = min(starts_ns.values())
    for camera_id, camera in site.cameras.items():
        if is_recorded(camera.url):
            continue
        shift_s = (starts_ns[camera_id] - zero_ns) / 1e9
        source: Recording = open_recording(
            camera_id,
            camera.url,
            start_ns=starts_ns[camera_id],
            fps=camera.fps,
            from_s=max(from_s - shift_s, 0.0),
            to_s=None if to_s is None else max(to_s - shift_s, 0.0),
        )
        boxes = _read_tracks(out / "tracks" / f"{camera_id}.txt")
        path = out / "video" / f"{camera_id}.mp4"
        with OverlayVideo(path, source.size, source.fps or 25.0, camera_id=camera_id) as video:
            for frame in source:
                rows = boxes.get(frame.seq + 1, [])
                ids = np.array([r[0] for r in rows], np.int64)
                corners = np.array([r[1] for r in rows], np.float64).reshape(-1, 4)
                states = np.full(len(rows), CONFIRMED, np.int8)
                video.write(frame.image, corners, ids, states, t_ns=frame.t_ns)
        source.close()
        written.append(path)
    return written


def _read_tracks(path: Path) -> dict[int, list[tuple[int, tuple[float, float, float, float]]]]:
    """Frame -> (identity, x1 y1 x2 y2)."""
    out: dict[int, list[tuple[int, tuple[float, float, float, float]]]] = defaultdict(list)
    for line in path.read_text(encoding="ascii").splitlines():
        frame, global_id, x, y, w, h = line.split(",")[:6]
        x1, y1 = float(x), float(y)
        out[int(frame)].append((int(global_id), (x1, y1, x1 + float(w), y1 + float(h))))
    return out


# ---- recorded inputs -----------------------------------------------------------------------------------------


class RecordedInput:
    """A camera whose detections were recorded, beside its pictures or without any."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self.fps, self.length = recorded.fps, recorded.last_frame
        self.dim = recorded.rows.embeddings.shape[1] if len(recorded.rows.embedded) else 0

    @property
    def embedded(self) -> bool:
        return self.dim > 0

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the pictures, px."""
        w, h = self._recorded.width, self._recorded.height
        return None if w is None or h is None else (w, h)

    def frame(self, seq: int) -> Detections:
        """What was seen in frame ``seq`` (0-based)."""
        return self._recorded.detections(seq + 1)


class RecordedSource:
    """Frames without pixels, for detections that were recorded without their pictures."""

    corrupt = 0

    def __init__(
        self,
        camera_id: str,
        recorded: RecordedInput,
        *,
        start_ns: int,
        fps: float | None,
        from_s: float,
        to_s: float | None,
    ) -> None:
        self._camera_id, self._start_ns = camera_id, start_ns
        rate = fps or recorded.fps
        if not rate:
            raise UserError(f"cameras.{camera_id}: recorded detections without a frame rate; give fps")
        self.fps = rate
        first = int(np.ceil(from_s * rate - 1e-9))
        last = recorded.length if to_s is None else min(recorded.length, int(np.ceil(to_s * rate - 1e-9)))
        self._seqs = range(first, max(first, last))
        self.length = len(self._seqs)

    def __iter__(self) -> Iterator[Frame]:
        for seq in self._seqs:
            t_ns = self._start_ns + round(seq / self.fps * 1e9)
            yield Frame(camera_id=self._camera_id, seq=seq, t_ns=t_ns, image=NO_PIXELS)

    def close(self) -> None:
        """Nothing is open."""


def _recorded_inputs(site: Site) -> dict[str, RecordedInput]:
    out: dict[str, RecordedInput] = {}
    for camera_id, camera in site.cameras.items():
        path = camera.url if is_recorded(camera.url) else camera.detections
        if path is None:
            continue
        try:
            out[camera_id] = RecordedInput(load_recorded(path, recorded_score=camera.recorded_score))
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"cameras.{camera_id}: {error}") from None
    return out


def _refuse_live(site: Site) -> None:
    for camera_id, camera in site.cameras.items():
        if is_live(camera.url):
            raise UserError(
                f"cameras.{camera_id}: {mask_url(camera.url)} is a live camera; use the command live"
            )


def start_times(site: Site) -> tuple[dict[str, int], str]:
    """When each recording starts (ns), and how that is known.

    A camera's ``start`` (ISO time for all, or seconds after the earliest) counts; else the times the containers were
    made at, if every one says so; else all start together at 0.
    """
    given = {c: s.start for c, s in site.cameras.items() if s.start is not None}
    if given:
        if any(isinstance(v, str) for v in given.values()):
            missing = ", ".join(c for c in site.cameras if not isinstance(given.get(c), str))
            if missing:
                raise UserError(
                    f"start: some cameras have a time, so every one needs it (missing: {missing})"
                )
        starts = {c: _start_ns(c, given.get(c, 0.0)) for c in site.cameras}
        low = min(starts.values())
        if low < 0:
            starts = {c: t - low for c, t in starts.items()}
        return starts, "as given"
    made: dict[str, int] = {}
    for camera_id, camera in site.cameras.items():
        if not is_recorded(camera.url):
            created_ns = probe(camera.url).created_ns
            if created_ns is not None:
                made[camera_id] = created_ns
    if len(made) == len(site.cameras) and len(made) > 1:
        return made, "by the time in the file's name or container"
    return dict.fromkeys(site.cameras, 0), "together"


def _start_ns(camera_id: str, start: str | float) -> int:
    if not isinstance(start, str):
        return round(start * 1e9)
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        raise UserError(f"cameras.{camera_id}.start: {start!r} is neither seconds nor an ISO time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.replace(microsecond=0).timestamp()) * SECOND_NS + moment.microsecond * 1000


@contextmanager
def _merged(sources: Mapping[str, Any], stages: Stages) -> Iterator[Iterator[Frame]]:
    """The frames of all cameras in the order of (t_ns, camera_id), decoded ahead in one thread a camera."""
    readers = [_Reader(source) for _, source in sorted(sources.items())]
    try:
        yield heapq.merge(*(r.frames(stages) for r in readers), key=lambda f: (f.t_ns, f.camera_id))
    finally:
        for reader in readers:
            reader.close()


class _Reader:
    """Reads one source ahead, in a thread of its own, over a bounded queue."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(AHEAD_FRAMES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def frames(self, stages: Stages) -> Iterator[Frame]:
        while True:
            with stages.measure("wait for frames"):
                item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._source.close()

    def _read(self) -> None:
        last: BaseException | None = None
        try:
            for frame in self._source:
                if not self._put(frame):
                    return
        except Exception as error:  # noqa: BLE001 - handed to the thread that asks for the frames
            last = error
        self._put(last)

    def _put(self, item: Frame | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False


def _batches(frames: Iterator[Frame], cameras: int) -> Iterator[list[Frame]]:
    """Runs of frames in which no camera comes twice; composed by capture order alone, so that bytes repeat."""
    batch: list[Frame] = []
    for frame in frames:
        if len(batch) == cameras or any(frame.camera_id == f.camera_id for f in batch):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


# ---- the answers' spool --------------------------------------------------------------------------------------


def _private(path: str, flags: int) -> int:
    """For ``open``: a file that only its owner can read; it holds what people look like."""
    return os.open(path, flags, 0o600)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=array_to_plain)
_DECODER = msgspec.msgpack.Decoder(tuple[str, int, int, Answers], dec_hook=plain_to_array)


def write_answers(file: BinaryIO, rows: list[tuple[str, int, int, Answers]]) -> None:
    """Append (camera, seq, t_ns, answers), each with its length in front."""
    for row in rows:
        data = _ENCODER.encode(row)
        file.write(len(data).to_bytes(4, "little") + data)


def read_answers(path: Path) -> Iterator[tuple[str, int, int, Answers]]:
    """What was spooled; a last row that was cut off is removed from the file."""
    if not path.exists():
        return
    whole = 0
    with open(path, "rb") as file:
        while True:
            length = int.from_bytes(file.read(4), "little")
            data = file.read(length)
            if not length or len(data) < length:
                break
            yield _DECODER.decode(data)
            whole = file.tell()
    os.truncate(path, whole)


# ---- results -------------------------------------------------------------------------------------------------


def reached(rows: NDArray[np.void], seen: NDArray[np.void], most_s: float) -> NDArray[np.void]:
    """Rows by which one camera's tracks are carried on over weak detections, back from their first and on from their
    last box; see `tracker.core.reach`.

    Args:
        rows: of the tracks.
        seen: all detections, at least one row a frame that was looked at; those without a height are none.
        most_s: no track is carried on for longer.
    """
    tracks: defaultdict[int, list[NDArray[np.float32]]] = defaultdict(list)
    first: dict[int, tuple[int, NDArray[np.float32]]] = {}
    last: dict[int, tuple[int, NDArray[np.float32]]] = {}
    for frame, number, box in zip(rows["frame"].tolist(), rows["number"].tolist(), rows["box"], strict=True):
        tracks[frame].append(box)
        if number not in first or frame < first[number][0]:
            first[number] = frame, box
        if number not in last or frame > last[number][0]:
            last[number] = frame, box
    numbers, at = np.unique(rows["number"], return_inverse=True)
    means = np.bincount(at, rows["score"]) / np.bincount(at)
    scores = dict(zip(numbers.tolist(), means.tolist(), strict=True))
    times = dict(zip(seen["frame"].tolist(), seen["t_ns"].tolist(), strict=True))
    frames: dict[int, Weak] = {}
    cuts = np.flatnonzero(np.diff(seen["frame"])) + 1
    for own in np.split(seen, cuts) if len(seen) else []:
        frame = int(own["frame"][0])
        own = own[own["box"][:, 3] > own["box"][:, 1]]
        taken = np.array(tracks[frame], np.float32).reshape(-1, 4)
        frames[frame] = Weak(times[frame], *unclaimed(own["box"], own["score"], taken))
    out: list[tuple[int, int, NDArray[np.float32], float]] = []
    for ends, backward in ((first, True), (last, False)):
        found = reach(frames, ends, scores, most_s=most_s, backward=backward)
        out += found
        for frame, _, box, _ in found:
            kept = ~(frames[frame].boxes == box).all(axis=1)
            frames[frame] = Weak(times[frame], frames[frame].boxes[kept], frames[frame].scores[kept])
    more = np.zeros(len(out), SPOOL)
    for n, (frame, number, box, score) in enumerate(out):
        more[n] = (frame, number, box, score, times[frame])
    return more


def finished(
    rows: NDArray[np.void], ids: NDArray[np.int64], fill_gaps_s: float
) -> list[tuple[NDArray[np.void], int]]:
    """One camera's spooled rows under their final identities, by (frame, identity).

    Of two boxes of one identity in one frame the surer stays; gaps up to ``fill_gaps_s`` are interpolated.
    """
    best: dict[tuple[int, int], NDArray[np.void]] = {}
    for row, global_id in zip(rows, ids, strict=True):
        at = (int(global_id), int(row["frame"]))
        if at not in best or row["score"] > best[at]["score"]:
            best[at] = row
    times = dict(zip(rows["frame"].tolist(), rows["t_ns"].tolist(), strict=True))
    ordered = sorted(best)
    for (id_a, frame_a), (id_b, frame_b) in zip(ordered, ordered[1:], strict=False):
        steps = frame_b - frame_a
        if id_a != id_b or steps < 2 or (times[frame_b] - times[frame_a]) / 1e9 > fill_gaps_s:
            continue
        a, b = best[id_a, frame_a], best[id_b, frame_b]
        for k in range(1, steps):
            row = a.copy()
            row["frame"], row["score"] = frame_a + k, min(a["score"], b["score"])
            row["box"] = a["box"] + (b["box"] - a["box"]) * (k / steps)
            row["t_ns"] = a["t_ns"] + (b["t_ns"] - a["t_ns"]) * k // steps
            best[id_a, frame_a + k] = row
    return [(best[at], at[0]) for at in sorted(best, key=lambda at: (at[1], at[0]))]


def _visits(
    camera_id: str, rows: list[tuple[NDArray[np.void], int]], apart_s: float = 5.0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stays in one camera: from when to when, and where first and last."""
    by_id: dict[int, list[NDArray[np.void]]] = defaultdict(list)
    for row, global_id in rows:
        by_id[global_id].append(row)
    for global_id, seen in sorted(by_id.items()):
        cuts = [n for n in range(1, len(seen)) if (seen[n]["t_ns"] - seen[n - 1]["t_ns"]) / 1e9 > apart_s]
        for start, stop in zip([0, *cuts], [*cuts, len(seen)], strict=True):
            first, last = seen[start], seen[stop - 1]
            yield (
                global_id,
                {
                    "camera_id": camera_id,
                    "t_first_ns": int(first["t_ns"]),
                    "t_last_ns": int(last["t_ns"]),
                    "first_frame": int(first["frame"]),
                    "last_frame": int(last["frame"]),
                    "boxes": stop - start,
                },
            )


def _mot_row(
    frame: int, global_id: int, box: NDArray[np.floating], score: float
) -> tuple[int, int, float, float, float, float, float]:
    x1, y1, x2, y2 = (float(v) for v in box)
    return frame, global_id, x1, y1, x2 - x1, y2 - y1, float(score)


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from None


def _versions() -> dict[str, str]:
    found = {}
    for name in (
        "numpy",
        "scipy",
        "opencv-python",
        "av",
        "onnxruntime-gpu",
        "onnxruntime",
        "pyzmq",
        "msgspec",
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
