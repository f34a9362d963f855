"""A person is asked about a run's arrivals: contact sheets in a private folder, replies from a terminal.

Which questions, and what the replies mean, is `tracker.label`'s business.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.config import is_recorded
from tracker.errors import UserError
from tracker.evaluate import Boxes, read_mot
from tracker.io.contact import Block, Footage, cut_out, sheet
from tracker.io.sinks import time_text
from tracker.io.sources import locate
from tracker.label import (
    NS,
    STRATA,
    Arrival,
    Box,
    Labels,
    Question,
    Reply,
    Visit,
    draw,
    find_arrivals,
    next_question,
    read_labels,
    weighted,
    with_reply,
    without_last,
    write_labels,
    write_private,
)
from tracker.types import CameraId

KEPT = 3  # boxes of a visit in the labels: one may be hidden in another run
# Pictures of a visit, and in how many ns before or after the hand-over: enough for somebody to turn; fewer where twelve
# visits have to be read from the disk.
ROW, IN_LINE_UP = (5, 6 * NS), (3, 2 * NS)
IN_LINE = 4  # of a line-up, side by side
ROW_PX, LINE_PX = 260, 170  # how high people are shown

PicturesOf = Callable[
    [Visit, tuple[Box, ...]], Sequence[NDArray[np.uint8]]
]  # one each, of those that can be read

# --- the run ----------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What `process` left in a folder, as far as it matters here."""

    key: str  # SHA-256 of identities.json
    visits: list[Visit]  # without their boxes
    tracks: dict[CameraId, Boxes]
    cameras: dict[CameraId, dict[str, Any]]  # their settings
    starts_ns: dict[CameraId, int]
    horizon_s: float

    @functools.cached_property
    def _rows(self) -> dict[CameraId, dict[int, NDArray[np.intp]]]:
        """The rows of each identity in each camera's tracks, by frame."""
        return {c: dataclasses.replace(own, frames=own.ids).by_frame() for c, own in self.tracks.items()}

    def boxes(self, visit: Visit, count: int, from_ns: int, to_ns: int) -> tuple[Box, ...]:
        """At most ``count`` boxes of a visit, evenly out of a time that it has a part in."""
        tracks = self.tracks[visit.camera_id]
        own = self._rows[visit.camera_id].get(visit.global_id, np.zeros(0, np.intp))
        low, high = _frame_at(visit, from_ns), _frame_at(visit, to_ns)
        start, stop = np.searchsorted(tracks.frames[own], (low, high + 1))
        rows = own[start : max(stop, start + 1)]  # the next one, where it is hidden in all that time
        # In the middle of equal parts: the very first and last boxes are often cut by the picture's edge.
        some = np.unique(((np.arange(count) + 0.5) / count * len(rows)).astype(int))
        return tuple((int(tracks.frames[n]), *tracks.boxes[n].tolist()) for n in rows[some[: len(rows)]])

    def with_boxes(self, arrival: Arrival) -> Arrival:
        """An arrival whose visits can be found again."""

        def found(visit: Visit) -> Visit:
            boxes = self.boxes(visit, KEPT, visit.t_first_ns, visit.t_last_ns)
            return msgspec.structs.replace(visit, boxes=boxes)

        return Arrival(
            visit=found(arrival.visit),
            joined=None if arrival.joined is None else found(arrival.joined),
            others=tuple(map(found, arrival.others)),
        )


def _frame_at(visit: Visit, t_ns: int) -> int:
    """The frame of a visit at about a time, kept inside the visit."""
    whole_ns = max(visit.t_last_ns - visit.t_first_ns, 1)
    share = min(max((t_ns - visit.t_first_ns) / whole_ns, 0.0), 1.0)
    return visit.first_frame + round(share * (visit.last_frame - visit.first_frame))


def _time_at(visit: Visit, frame: int) -> int:
    """About when a frame of a visit was taken (ns): exact at its ends, between them where frames come evenly."""
    frames = max(visit.last_frame - visit.first_frame, 1)
    return visit.t_first_ns + (visit.t_last_ns - visit.t_first_ns) * (frame - visit.first_frame) // frames


def read_run(out: Path) -> Run:
    """The finished run in ``out``.

    Raises:
        UserError: There is none.
    """
    try:
        account = json.loads((out / "run.json").read_bytes())
        identities = (out / "identities.json").read_bytes()
        visits = [
            msgspec.convert(visit | {"global_id": one["global_id"], "boxes": ()}, Visit)
            for one in json.loads(identities)["identities"]
            for visit in one["visits"]
        ]
        cameras, link = account["settings"]["cameras"], account["settings"]["link"]
        return Run(
            key=sha256(identities).hexdigest(),
            visits=visits,
            tracks={camera_id: read_mot(out / "tracks" / f"{camera_id}.txt") for camera_id in cameras},
            cameras=cameras,
            starts_ns=account["starts_ns"],
            horizon_s=float(max(link["max_gap_s"], link["revise_s"])),
        )
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{out}: no finished run there; give the output folder of process") from None
    except (ValueError, KeyError, TypeError, msgspec.ValidationError):
        raise UserError(f"{out}: the run there is of another version; process the recordings again") from None


# --- asking -----------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """How far the asking came."""

    finished: int  # arrivals of those drawn
    drawn: int
    in_run: int


def ask_person(
    out: Path,
    file: Path,
    *,
    ask: Callable[[str], str],
    count: int,
    seed: int | None = None,
    recordings: Mapping[CameraId, str] | None = None,
    keep_pictures: bool = False,
) -> Asked:
    """Ask about arrivals of the run in ``out`` until all are done, or the reply is ``q``.

    Every reply is in ``file`` before the next question; asked again, it goes on there. The picture of a question, and
    of no other, lies in ``out/label_pictures`` while it is asked.

    Args:
        ask: Shows a prompt and gives the line that was typed; raises EOFError where nothing more will come.
        count: Arrivals to ask about.
        seed: Of the draw; None: that of ``file``, else 0.
        recordings: Where recordings are now, where the run found them elsewhere.
        keep_pictures: Leave the folder, and every picture that was asked about in it.

    Raises:
        UserError: There is no run, nothing to label, a recording is not there, or ``file`` is of another run or seed.
    """
    run = read_run(out)
    footage = find_footage(run, recordings or {})
    arrivals = find_arrivals(
        (visit for visit in run.visits if visit.camera_id in footage), horizon_s=run.horizon_s
    )
    if not arrivals:
        raise UserError(f"{out}: nothing to label: nobody came after somebody whom it might have been")
    counts = Counter(arrival.stratum for arrival in arrivals)
    kept = Labels(run=run.key, seed=seed or 0, arrivals={stratum: counts[stratum] for stratum in STRATA})
    if file.exists():
        fresh, kept = kept, read_labels(file)
        if kept.run != fresh.run or kept.arrivals != fresh.arrivals:
            raise UserError(f"{file}: labels of another run than {out}; name another file with --labels")
        if seed not in (None, kept.seed):
            raise UserError(f"{file}: begun with --seed {kept.seed}; leave --seed out, or name another file")
    drawn = [run.with_boxes(arrival) for arrival in draw(arrivals, count, kept.seed)]
    labels = list(kept.labels)

    @functools.lru_cache(maxsize=128)  # many arrivals have the same visits in their line-ups
    def pictures_of(visit: Visit, boxes: tuple[Box, ...]) -> list[NDArray[np.uint8]]:
        return _cut_out(footage[visit.camera_id], visit, boxes)

    with _private_folder(out / "label_pictures", keep=keep_pictures) as folder, ThreadPoolExecutor(1) as pool:
        ahead: dict[Question, Future[bytes]] = {}
        while (question := next_question(drawn, labels)) is not None:
            is_pair = len(question.earlier) == 1
            coming = next_question(drawn, with_reply(labels, question, 0 if is_pair else "n"))
            wanted = [question] if coming is None else [question, coming]
            ahead = {q: ahead.get(q) or pool.submit(draw_sheet, run, pictures_of, q) for q in wanted}
            # One name for all lets a viewer follow; kept ones need their own.
            kind = "pair" if is_pair else f"line_up_{question.pages}"
            picture = folder / (f"{question.place + 1:03d}_{kind}.jpg" if keep_pictures else "question.jpg")
            write_private(picture, ahead[question].result())
            reply = _reply(ask, question, len(drawn), picture)
            if reply == "q":
                break
            labels = without_last(labels) if reply == "b" else with_reply(labels, question, reply)
            told = weighted(labels, kept.arrivals)
            write_labels(file, msgspec.structs.replace(kept, labels=told))
    done = {label.visit.key for label in labels if label.finished}
    return Asked(sum(arrival.visit.key in done for arrival in drawn), len(drawn), len(arrivals))


def find_footage(run: Run, recordings: Mapping[CameraId, str]) -> dict[CameraId, Footage]:
    """The recording of every camera that has pictures.

    Raises:
        UserError: One is not where it was, or there are none.
    """
    if unknown := sorted(set(recordings) - set(run.cameras)):
        raise UserError(
            f"--recording {unknown[0]}: there is no such camera (cameras: {', '.join(run.cameras)})"
        )
    found = {}
    for camera_id, settings in run.cameras.items():
        location = recordings.get(camera_id, settings["url"])
        if is_recorded(location):
            continue
        try:
            locate(location)
        except UserError as problem:
            raise UserError(
                f"cameras.{camera_id}: {problem}; say where the recording is: --recording {camera_id}=FILE"
            ) from None
        found[camera_id] = Footage(camera_id, location, run.starts_ns[camera_id], settings["fps"])
    if not found:
        raise UserError(
            "nothing to label: the run was made from boxes without pictures; "
            f"if there are pictures, name them: --recording {next(iter(run.cameras))}=FILE"
        )
    return found


def draw_sheet(run: Run, pictures_of: PicturesOf, question: Question) -> bytes:
    """The contact sheet of a question, a JPEG: two rows of pictures, or one and a line-up with numbers."""
    arrival, earlier = question.arrival.visit, question.earlier

    def block(visit: Visit, pictures: tuple[int, int], name: str = "") -> Block:
        count, span_ns = pictures
        from_ns = visit.t_first_ns
        if visit is not arrival:
            # Where both are seen at once, what is there before; a moment is too little to know somebody by.
            end_ns = min(max(arrival.t_first_ns, visit.t_first_ns + span_ns // 2), visit.t_last_ns)
            from_ns = end_ns - span_ns
        boxes = run.boxes(visit, count, from_ns, from_ns + span_ns)
        return Block(f"{name}{_told(visit)}", pictures_of(visit, boxes))

    if len(earlier) == 1:
        return sheet([[block(earlier[0], ROW)], [block(arrival, ROW)]], [ROW_PX, ROW_PX])
    line_up = [block(visit, IN_LINE_UP, f"{k}:  ") for k, visit in enumerate(earlier, 1)]
    lines = [line_up[k : k + IN_LINE] for k in range(0, len(line_up), IN_LINE)]
    return sheet([[block(arrival, ROW)], *lines], [ROW_PX, *[LINE_PX] * len(lines)])


def _cut_out(footage: Footage, visit: Visit, boxes: Sequence[Box]) -> list[NDArray[np.uint8]]:
    """The pictures of a visit's boxes, as far as their frames can be read."""
    if not boxes:
        return []
    numbers = [frame for frame, *_ in boxes]
    # A second early, for where frames do not come evenly; from the visit's start where that was too late.
    about_ns = _time_at(visit, numbers[0]) - NS
    images = footage.frames(numbers, about_ns)
    if len(images) < len(numbers):
        images |= footage.frames(numbers, min(visit.t_first_ns, about_ns))
    return [cut_out(images[frame], box) for frame, *box in boxes if frame in images]


def _told(visit: Visit) -> str:
    return f"{visit.camera_id}  {time_text(visit.t_first_ns)} - {time_text(visit.t_last_ns)}"


def _reply(ask: Callable[[str], str], question: Question, drawn: int, picture: Path) -> Reply:
    """A reply that makes sense; the end of the input means ``q``."""
    many = len(question.earlier)
    pages = f", {question.pages} pages to go" if question.pages > 1 else ""
    lines = [f"\n{question.place + 1} of {drawn}{pages}   {picture}"]
    if many == 1:
        lines += [f"  {_told(question.earlier[0])}", f"  {_told(question.arrival.visit)}"]
        choice = "One person? y, n, ? (cannot tell), b (back), q (stop and keep): "
    else:
        lines.append(f"  {_told(question.arrival.visit)}")
        choice = f"Which is it? 1-{many}, n (none), ? (cannot tell), b (back), q (stop and keep): "
    prompt = "\n".join([*lines, choice])
    while True:
        try:
            text = ask(prompt).strip().lower()
        except EOFError:
            return "q"
        if text in ("n", "?", "b", "q"):
            return cast(Reply, text)
        if text == "y" and many == 1:
            return 0
        if text.isdecimal() and 1 <= int(text) <= many:
            return int(text) - 1
        prompt = choice


@contextlib.contextmanager
def _private_folder(path: Path, *, keep: bool) -> Iterator[Path]:
    """A folder for its owner's eyes; gone at the end, also when the terminal is closed or the process told to stop."""
    names = [name for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), signal.default_int_handler) for name in names}
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        yield path
    finally:
        if not keep:
            shutil.rmtree(path, ignore_errors=True)
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
