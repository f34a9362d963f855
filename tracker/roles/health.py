"""How a role is doing, as pages to ask: alive (``/healthz``), of use (``/readyz``), figures (``/metrics``).

A role's loop tells; the server's thread reads what was told last, so that a loop that hangs shows.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import tracker
from tracker.config import LiveSettings
from tracker.errors import UserError, mask_url
from tracker.io.status import Page, StatusServer
from tracker.roles.housekeeping import Metrics
from tracker.types import CameraId

log = logging.getLogger(__name__)

# Fifteen times that a process has not told its figures. The longest that a sound loop is away is a checkpoint of
# 20,000 people or an hour's deletions from the log: seconds.
SILENT_S = 30.0
STATES = ("opening", "up", "stalled", "gone", "ended")
Told = tuple[str, Literal["counter", "gauge"], str]  # name without "throughline_", type, meaning

# What a camera's counts are called in /metrics; other numbers go by their own names, untyped.
OF_CAMERA: dict[str, Told] = {
    "read": ("camera_frames_read_total", "counter", "Frames that the source gave."),
    "processed": ("camera_frames_processed_total", "counter", "Frames that went through the pipeline."),
    "dropped": ("camera_frames_dropped_total", "counter", "Frames that gave way to a newer one."),
    "disordered": ("camera_frames_disordered_total", "counter", "Frames not later than the one before."),
    "failed": ("camera_frames_failed_total", "counter", "Frames that broke a stage."),
    "lost": ("camera_reconnects_total", "counter", "Times that the source failed and was opened again."),
    "fps": ("camera_fps", "gauge", "Frames processed a second, of the last ten seconds."),
    "waiting": ("camera_frames_waiting", "gauge", "Frames that wait for their turn, 3 at most."),
    "hung": ("camera_hung_total", "counter", "Connections that never came back from their decoder."),
    "resized": ("camera_resized_total", "counter", "Times that its pictures became of another size."),
    "clock_jumps": ("camera_clock_jumps", "gauge", "Jumps of the stream's time in this connection."),
    "clock_offset_s": (
        "camera_clock_offset_seconds",
        "gauge",
        "The camera's clock less ours, where it says it.",
    ),
    "clock_drift_ppm": (
        "camera_clock_drift_ppm",
        "gauge",
        "How much faster our clock runs than its stream's.",
    ),
    "worker_clock_offset_s": (
        "camera_worker_clock_offset_seconds",
        "gauge",
        "The clock of its worker's machine less the linker's.",
    ),
    "worker_clock_drift_ppm": (
        "camera_worker_clock_drift_ppm",
        "gauge",
        "How much faster the linker's clock runs than its worker's.",
    ),
}
_NOT_TOLD = (
    "read_warm",
    "dropped_warm",
    "dropped_share",
    "latency_p50_s",
    "latency_p99_s",
)  # or told elsewhere
# What a process's counters are called, after its role.
OF_PROCESS: dict[str, Told] = {
    "updates": ("updates_total", "counter", "Updates of cameras that came in."),
    "events": ("log_seq", "gauge", "Number of the last event in this epoch."),
    "epoch": ("log_epoch", "gauge", "Epoch of the event log: rises at every start."),
    "identities_open": ("identities_open", "gauge", "People who are in view somewhere now."),
    "held": ("held", "gauge", "Updates that wait for slower cameras."),
    "held_overflow": ("held_overflow_total", "counter", "Updates released early because too many waited."),
    "late": ("late_total", "counter", "Updates that came after their turn."),
    "impatient": ("impatient_total", "counter", "Times that a silent camera was not waited for."),
    "repeated": ("repeated_total", "counter", "Ended tracklets that came once more."),
    "failed": ("failed_total", "counter", "Messages that the linker failed on."),
    "unknown": ("unknown_total", "counter", "Messages of cameras that are none of the site's."),
    "misfits": ("misfits_total", "counter", "Messages with looks of another size than their network's."),
    "refused": ("refused_total", "counter", "Messages that were none of ours."),
    "limited": ("limited_total", "counter", "Messages beyond what one peer may send."),
    "again": ("again_total", "counter", "Updates that had come before, byte for byte."),
    "denied": ("denied_total", "counter", "Connections that were not let in."),
    "storage_errors": (
        "storage_errors_total",
        "counter",
        "Times that something could not be put on disk, or read from it.",
    ),
    "unstored_s": ("unstored_seconds", "gauge", "For how long nothing could be put on disk; 0 when all can."),
    "unsaid": ("unsaid", "gauge", "Events that wait to be put on disk and published."),
    "unsaid_dropped": (
        "unsaid_dropped_total",
        "counter",
        "Events given up because too many waited for the disk.",
    ),
    "clocks_off": ("clocks_off", "gauge", "Cameras whose clocks are off, ahead or behind."),
    "checkpoints": ("checkpoints_total", "counter", "Checkpoints written."),
    "rounds": ("rounds_total", "counter", "Batches that went through the networks."),
    "outbox_waiting": ("outbox_waiting", "gauge", "Messages that wait to be sent, 1000 at most."),
    "shut_out": ("shut_out", "gauge", "1 while the linker refuses this worker's key."),
    "outbox_unsent": ("outbox_unsent_total", "counter", "Updates that did not fit into the outbox."),
}


@dataclass(frozen=True)
class Process:
    """One process as it was last heard of."""

    name: str
    role: Literal["live", "linker", "worker"]
    metrics: Metrics | None  # its own figures; None while there are none
    heard_s: float  # monotonic clock: when its figures last changed
    starts: int = 1
    is_serving: bool = True  # past its start, and not waiting for the next one


class Health:
    """What is known of a role and its processes, and the pages that say it."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._beat_s = now_s()
        self._processes: tuple[Process, ...] = ()

    def tell(self, *processes: Process) -> None:
        """The loop has come round, and this is how all its processes are doing."""
        self._processes, self._beat_s = processes, self._now_s()

    def alone(self, role: Literal["linker", "worker"]) -> Callable[[Metrics], None]:
        """For a role that is one process: told by its figures."""
        return lambda metrics: self.tell(Process(metrics.name, role, metrics, self._now_s()))

    @property
    def problems(self) -> list[str]:
        """Loops that have not come round for too long; none when all is well."""
        silent = [("this process", self._now_s() - self._beat_s)]
        silent += [(p.name, self._silent_s(p)) for p in self._processes if p.is_serving]
        return [f"{name}: nothing heard of it for {s:.0f} s" for name, s in silent if s > SILENT_S]

    def pages(self) -> dict[str, Callable[[], Page]]:
        """By their paths."""
        return {"/healthz": self.healthz, "/readyz": self.readyz, "/metrics": self.metrics}

    def healthz(self) -> Page:
        """200 while every loop comes round; else 503 and which does not."""
        problems = self.problems
        return _page(not problems, problems or ["alive"])

    def readyz(self) -> Page:
        """200 while the linker serves, lets its workers in, and a camera is live; either way, what is not."""
        if not self._processes:
            return _page(False, ["not ready", "starting"])
        lines = list(self.problems)
        lines += [f"{p.name}: starting" for p in self._processes if not p.is_serving]
        states = self._states()
        lines += [
            f"{camera_id}: {state}{': ' if reason else ''}{mask_url(reason)}"
            for camera_id, (state, reason) in states.items()
            if state != "up"
        ]
        shut_out = [p.name for p in self._processes if p.metrics and p.metrics.counters.get("shut_out")]
        lines += [f"{name}: the linker refuses this worker's key" for name in shut_out]
        is_linked = (
            not shut_out
            and all(p.is_serving for p in self._processes if p.role == "linker")
            and not self.problems
        )
        is_ready = is_linked and any(state == "up" for state, _ in states.values())
        return _page(is_ready, ["ready" if is_ready else "not ready", *lines])

    def metrics(self) -> Page:
        """All figures, in the text format of Prometheus."""
        text = _Exposition()
        text.add("build_info", "gauge", "The version that runs.", 1, version=tracker.__version__)
        for p in self._processes:
            text.add("process_up", "gauge", "Past its start, and not dead.", p.is_serving, process=p.name)
            text.add(
                "process_starts_total", "counter", "Times that it was started.", p.starts, process=p.name
            )
            silence = "Seconds since it told its figures."
            text.add("process_silent_seconds", "gauge", silence, self._silent_s(p), process=p.name)
            if p.metrics is not None:
                _add_process(text, p.role, p.metrics)
        for camera_id, (now, _) in self._states().items():
            for state in STATES:
                text.add(
                    "camera_state",
                    "gauge",
                    "1 for the present one.",
                    now == state,
                    camera=camera_id,
                    state=state,
                )
        for p in self._processes:
            for camera_id, counts in (p.metrics.cameras if p.metrics is not None else {}).items():
                _add_camera(text, camera_id, counts)
        return Page(text.text())

    def _silent_s(self, process: Process) -> float:
        return max(self._now_s() - process.heard_s, 0.0)

    def _states(self) -> dict[CameraId, tuple[str, str]]:
        """State and reason of each camera: its worker's word, and the linker's where its worker is silent."""
        states: dict[CameraId, tuple[str, str]] = {}
        for p in sorted(self._processes, key=lambda p: p.role == "worker"):
            if p.metrics is not None and p.is_serving and self._silent_s(p) <= SILENT_S:
                for camera_id, counts in p.metrics.cameras.items():
                    states[camera_id] = (str(counts.get("state", "opening")), str(counts.get("reason", "")))
        return dict(sorted(states.items()))


@contextlib.contextmanager
def serving(settings: LiveSettings) -> Iterator[Health]:
    """Somewhere to tell how it goes, and a server that says so to others where the site wants one.

    Raises:
        UserError: the site names an endpoint that cannot be listened on, or that other machines could reach.
    """
    health = Health()
    with contextlib.ExitStack() as stack:
        if settings.http is not None:
            try:
                server = StatusServer(settings.http, health.pages(), insecure=settings.http_insecure)
            except OSError as error:
                text = (
                    f"live.http: {settings.http} cannot be listened on ({error}); choose another one, or null"
                )
                if "http" in settings.model_fields_set:
                    raise UserError(text) from error
                # Nobody has asked for this one: a second role on a machine must start without a word about it.
                log.warning("%s; going on without health and metrics", text)
            else:
                stack.enter_context(server)
                log.info("health and metrics at http://%s", server.endpoint)
        yield health


def _page(is_well: bool, lines: Sequence[str]) -> Page:
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return Page("\n".join(lines) + "\n", status)


def _add_process(text: _Exposition, role: str, metrics: Metrics) -> None:
    name = metrics.name
    text.add("process_cpu_seconds_total", "counter", "CPU time.", metrics.cpu_s, process=name)
    if metrics.rss_bytes:
        text.add("process_resident_bytes", "gauge", "Memory that it holds.", metrics.rss_bytes, process=name)
    for counter, value in metrics.counters.items():
        told, kind, meaning = OF_PROCESS.get(counter, (counter, "untyped", ""))
        text.add(f"{role}_{told}", kind, meaning, value, process=name)


def _add_camera(text: _Exposition, camera_id: CameraId, counts: Mapping[str, Any]) -> None:
    for name, value in counts.items():
        if isinstance(value, int | float) and name not in _NOT_TOLD:
            told, kind, meaning = OF_CAMERA.get(name, (f"camera_{name}", "untyped", ""))
            text.add(told, kind, meaning, value, camera=camera_id)
    for quantile, name in (("0.5", "latency_p50_s"), ("0.99", "latency_p99_s")):
        if name in counts:
            meaning = "From capture to the publication of an event, of the last 2,000."
            text.add(
                "camera_latency_seconds", "gauge", meaning, counts[name], camera=camera_id, quantile=quantile
            )


class _Exposition:
    """Samples by family, as Prometheus wants them: all of one name together, after what it means."""

    def __init__(self) -> None:
        self._families: dict[str, list[str]] = {}

    def add(self, name: str, kind: str, meaning: str, value: float, **labels: str) -> None:
        name = f"throughline_{name}"
        head = [f"# HELP {name} {meaning}"] if meaning else []
        samples = self._families.setdefault(name, [*head, f"# TYPE {name} {kind}"])
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        samples.append(f"{name}{{{shown}}} {_number(value)}")

    def text(self) -> str:
        return "".join(f"{line}\n" for lines in self._families.values() for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(int(value)) if float(value).is_integer() else repr(round(float(value), 6))
