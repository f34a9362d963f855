#!/usr/bin/env python3
"""Throughline's command line: one identity per person, across every camera.

One short function a verb; heavy imports stay inside it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tracker.config import Site
    from tracker.core.topology import Doorway, Route, SiteModel
    from tracker.evaluate import CameraScores, CrossCameraScores
    from tracker.io.bus import Operator
    from tracker.io.wire import Outcome
    from tracker.label import Figure, LabelScores
    from tracker.logs import LogSettings
    from tracker.process import Summary
    from tracker.types import TrackKey

OURS = ("tracker", "reid", "flow", "models", "configs", "run_tracker")
USUAL_SHARE = 0.1  # of those who leave by a zone; what fewer do may well be chance
OK, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130
CAMERA = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})=(.+)", re.DOTALL)
# What a user can mend; any other error of the system is a bug and keeps its traceback.
ENVIRONMENT = {
    errno.ENOSPC: "the disk is full: free some space and run again (process takes --resume)",
    errno.EDQUOT: "the disk quota is used up: free some space and run again (process takes --resume)",
    errno.EACCES: "this is not allowed: check the permissions",
    errno.EPERM: "this is not allowed: check the permissions",
    errno.EROFS: "the file system is read-only: write somewhere else",
    errno.ENOENT: "no such file or folder: check the path",
    errno.ENOTDIR: "a part of the path is a file: name a folder",
    errno.EISDIR: "this is a folder: name a file",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.EADDRINUSE: "the address is in use: stop what listens there, or choose another",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the answer is the exit code."""
    # Our matrices are small: threads of NumPy's that wait for a busy core make them up to eight times slower.
    if "numpy" not in sys.modules and "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        return _run(parser().parse_args(argv))
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    """A verb, its mistakes told in one line each."""
    from models import ModelError
    from tracker.errors import UserError
    from tracker.logs import set_up

    set_up(_logs(arguments))
    try:
        answer = int(arguments.run(arguments))
        sys.stdout.flush()  # here, where a reader who has gone is no error, and not when Python ends
        return answer
    except (UserError, ModelError) as problem:
        if getattr(arguments, "log_format", "text") == "json":
            import logging

            logging.getLogger("throughline").error("%s", problem)
            return MISTAKE
        return _complain(str(problem))
    except BrokenPipeError:
        # Whoever read our output (head, say) has seen enough; Python must not complain while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as problem:
        if problem.errno not in ENVIRONMENT:
            raise
        place = f"{problem.filename}: " if problem.filename else ""
        return _complain(place + ENVIRONMENT[problem.errno])
    except ImportError as problem:
        if problem.name is not None and problem.name.split(".")[0] in OURS:
            raise
        from tracker.doctor import import_remedy

        return _complain(f"a package cannot be loaded: {import_remedy(problem)}")


def _logs(arguments: argparse.Namespace) -> LogSettings:
    """How much to say, and in which form."""
    import logging

    from tracker.logs import LogSettings

    level = logging.INFO if arguments.verbose else logging.WARNING
    return LogSettings(level, getattr(arguments, "log_format", "text"))


def _complain(text: str) -> int:
    from tracker.errors import mask_url

    print(f"throughline: {mask_url(text)}", file=sys.stderr)
    return MISTAKE


# --- verbs: recorded footage


def demo(arguments: argparse.Namespace) -> int:
    """The shipped clips through the whole pipeline, scored against their truth."""
    from tracker import config, evaluate
    from tracker.process import process

    out = _out_folder(arguments.out)
    clips = _package_folder("tracker.demo")
    site = config.load(_package_folder("configs") / "demo.yaml", overrides=arguments.set)
    with _progress_bar(arguments) as progress:
        summary = process(site, out, video=not arguments.no_video, progress=progress)
    print(summary_text(summary))
    truth = evaluate.camera_files([clips / "truth"])
    tracks = evaluate.camera_files([out / "tracks"])
    scores = evaluate.evaluate(truth, tracks, per_camera=False)
    print("\nAgainst the truth of the clips:")
    print(across_text(scores.across))
    if not arguments.no_video:
        print(f"\nSee {out / 'video'}")
    return OK


def process_footage(arguments: argparse.Namespace) -> int:
    """Recordings in, one identity per person across all of them out."""
    from tracker.process import process

    if arguments.to is not None and arguments.to <= arguments.start:
        raise _mistake(f"--to {arguments.to:g} is not after --from {arguments.start:g}")
    out = _out_folder(arguments.out)
    with _progress_bar(arguments) as progress:
        summary = process(
            _site(arguments),
            out,
            from_s=arguments.start,
            to_s=arguments.to,
            resume=arguments.resume,
            video=arguments.video,
            progress=progress,
        )
    print(summary_text(summary))
    return OK


def summary_text(summary: Summary) -> str:
    """What came out of a run, in lines to read."""
    frames = ", ".join(f"{name} {count}" for name, count in summary.frames.items())
    in_stages = sum(summary.stages_s.values()) or 1.0
    unsure = f" and {summary.unsure} unsure" if summary.unsure else ""
    slowest = sorted(summary.stages_s.items(), key=lambda item: -item[1])[:5]
    lines = [
        ["identities", f"{summary.identities}{unsure}, in {summary.events} events"],
        ["frames", f"{frames}; starts: {summary.starts}"],
        ["speed", f"{summary.frames_per_s:.1f} frames/s over {summary.seconds:.1f} s"],
        ["time", ", ".join(f"{stage} {100 * spent / in_stages:.0f} %" for stage, spent in slowest)],
        ["written to", str(summary.out)],
    ]
    return _table(lines)


@contextlib.contextmanager
def _progress_bar(arguments: argparse.Namespace) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar with frames a second and the time left, on a terminal; nothing elsewhere."""
    if arguments.quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit=" frames", dynamic_ncols=True, leave=False) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def replay(arguments: argparse.Namespace) -> int:
    """A tape through the linker again: the same events, byte for byte."""
    from tracker import config, roles

    site = config.load(arguments.site, overrides=arguments.set)
    events = roles.replay(site, arguments.tape, _out_folder(arguments.out))
    print(f"{len(events)} events in {arguments.out / 'events.jsonl'}")
    return OK


def _site(arguments: argparse.Namespace) -> Site:
    """The site that a site file, or camera after camera, describes."""
    from tracker import config

    given = arguments.cameras
    offsets = {
        name: _number(value, f"--offset {name}")
        for name, value in _pairs(arguments.offset, "--offset").items()
    }
    detections = _pairs(arguments.detections, "--detections")
    calibrations = _pairs(arguments.calibration, "--calibration")
    site_files = [text for text in given if Path(text).suffix.lower() in (".yaml", ".yml")]
    if not site_files:
        cameras = [named_camera(text) for text in given]
        return config.site_from_arguments(
            cameras,
            offsets=offsets,
            detections=detections,
            calibrations=calibrations,
            recorded_score=arguments.recorded_score,
            overrides=arguments.set,
        )
    if len(given) > 1:
        raise _mistake(f"{site_files[0]}: a site file names all its cameras; give it alone")
    site = config.load(given[0], overrides=arguments.set)
    more = [f"cameras.{name}.start={seconds!r}" for name, seconds in offsets.items()]
    for field, files in (("detections", detections), ("calibration", calibrations)):
        more += [
            f"cameras.{name}.{field}={json.dumps(str(Path(file).absolute()))}" for name, file in files.items()
        ]
    for name in (*offsets, *detections, *calibrations):
        if name not in site.cameras:
            raise _mistake(f"{given[0]} has no camera {name!r} (cameras: {', '.join(site.cameras)})")
    if arguments.recorded_score is not None:
        more += [f"cameras.{name}.recorded_score={arguments.recorded_score!r}" for name in site.cameras]
    return config.load(given[0], overrides=[*arguments.set, *more]) if more else site


def named_camera(text: str) -> tuple[str, str]:
    """``hall=a.mp4`` by its name, a bare path by its stem: (name, source)."""
    if found := CAMERA.fullmatch(text):
        return found[1], found[2]
    stem = "" if "://" in text or "*" in text else Path(text).stem
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("_.-")[:64]
    if not name or text.isdecimal():
        raise _mistake(f"{text}: name this camera, as in hall={text}")
    return name, text


# --- verbs: live


def live(arguments: argparse.Namespace) -> int:
    """Everything on this machine: workers and linker, until Ctrl-C."""
    import logging

    from tracker import roles

    site = _live_site(arguments, "live")
    is_text = arguments.log_format == "text"
    roles.live(
        site,
        _out_or_none(arguments),
        duration_s=arguments.duration,
        report=(lambda text: print(text, flush=True)) if is_text else logging.getLogger("throughline").info,
        logs=_logs(arguments),
    )
    return OK


def _live_site(arguments: argparse.Namespace, process: str) -> Site:
    """The site of a role that runs for long, and a log that knows its cameras."""
    from tracker import config
    from tracker.logs import set_up

    site = config.load(arguments.site, overrides=_overrides(arguments))
    set_up(_logs(arguments), process, site.cameras)
    return site


def worker(arguments: argparse.Namespace) -> int:
    """Some cameras of a site: frames in, updates out."""
    from tracker import roles

    site = _live_site(arguments, "worker")
    for name in arguments.camera:
        if name not in site.cameras:
            raise _mistake(f"{arguments.site} has no camera {name!r} (cameras: {', '.join(site.cameras)})")
    roles.worker(site, arguments.camera or list(site.cameras), out=_out_or_none(arguments))
    return OK


def linker(arguments: argparse.Namespace) -> int:
    """The site's one linker: updates in, events out."""
    from tracker import roles

    roles.linker(_live_site(arguments, "linker"), _out_or_none(arguments))
    return OK


def _overrides(arguments: argparse.Namespace) -> list[str]:
    """What was given with --set, and what options of their own stand for."""
    is_open = getattr(arguments, "insecure", False)
    return [*arguments.set, *(["bus.insecure=true"] if is_open else [])]


def subscribe(arguments: argparse.Namespace) -> int:
    """Events as JSON lines, from now or from an earlier number on."""
    import msgspec

    from tracker.io import wire
    from tracker.io.bus import subscribe as listen

    events = listen(
        arguments.endpoint,
        kinds=arguments.kind or None,
        camera=arguments.camera,
        identity=arguments.identity,
        since=_event_place(arguments.since),
        timeout_s=arguments.timeout,
        replay=arguments.replay,
        keys=arguments.keys,
        cursor=arguments.cursor,
    )
    for event in events:
        print(msgspec.json.encode(wire.to_builtins(event)).decode(), flush=True)
    return OK


def _event_place(text: str | None) -> int | tuple[int, int] | None:
    """``SEQ`` of the present epoch, or ``EPOCH:SEQ``."""
    if text is None:
        return None
    numbers = text.split(":")
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise _mistake(f"--since {text}: give an event's number, or EPOCH:NUMBER; 0 is all that is kept")
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else int(text)


# --- verbs: keys


def make_key(arguments: argparse.Namespace) -> int:
    """Let one more machine or person in, with a key pair of its own; a running linker knows it within a second."""
    from tracker.io.keys import new_key

    theirs = new_key(arguments.keys, arguments.name, arguments.role)
    print(f"made {theirs}: move this folder to its machine (bus.keys of a worker, --keys of others)")
    return OK


def list_keys(arguments: argparse.Namespace) -> int:
    """Who may connect to the linker, and for what."""
    from tracker.io.keys import known_keys

    rows = [["name", "role", "may", "public key"]]
    for key in known_keys(arguments.keys):
        rows.append(
            [key.name, "-" if key.role is None else key.role or "?", " ".join(sorted(key.rights)), key.public]
        )
    print(_columns(rows))
    return OK


def revoke_key(arguments: argparse.Namespace) -> int:
    """Shut somebody out for good; a running linker does so within a second."""
    from tracker.io import keys

    keys.revoke_key(arguments.keys, arguments.name)
    print(f"{arguments.name} is shut out")
    return OK


# --- verbs: operators


def merge_identities(arguments: argparse.Namespace) -> int:
    """Tell a running linker that these identities are one person, and stay one."""
    with _operator(arguments) as operator:
        return _say(operator.command("merge", arguments.kept, *arguments.others), arguments)


def split_identity(arguments: argparse.Namespace) -> int:
    """Tell a running linker that these tracklets are somebody else, and stay so; `identity show` lists tracklets."""
    with _operator(arguments) as operator:
        return _say(operator.command("split", arguments.id, track_keys=arguments.tracks), arguments)


def name_identity(arguments: argparse.Namespace) -> int:
    """Give somebody a name, which views show; an empty one takes it away."""
    with _operator(arguments) as operator:
        return _say(operator.command("name", arguments.id, name=arguments.name), arguments)


def forget_identity(arguments: argparse.Namespace) -> int:
    """Delete somebody for good: looks, name and every event, under all their numbers."""
    with _operator(arguments) as operator:
        return _say(operator.command("forget", arguments.id), arguments)


def list_identities(arguments: argparse.Namespace) -> int:
    """Whom a running linker knows now, the last seen first."""
    with _operator(arguments) as operator:
        people = sorted(operator.view().identities, key=lambda p: (-p.last.t_ns, p.global_id))
    if arguments.json:
        return _print_records(people)
    rows = [["id", "name", "here", "last seen by", "at", "tracklets"]]
    for one in people:
        here = "yes" if one.here else "unsure" if one.unsure else "no"
        last = [one.last.camera_id, local_time(one.last.t_ns)]
        rows.append([str(one.global_id), one.name, here, *last, str(len(one.tracks))])
    print(_columns(rows))
    return OK


def show_identity(arguments: argparse.Namespace) -> int:
    """The tracklets of somebody whom a running linker knows, in the order in which they began."""
    with _operator(arguments) as operator:
        found = [one for one in operator.view().identities if one.global_id == arguments.id]
    if not found:
        raise _mistake(f"no identity {arguments.id} is known now; 'identity list' shows who is")
    if arguments.json:
        return _print_records(found)
    (one,) = found
    spans = sorted(zip(one.seen, one.tracks, strict=True))
    print(f"{one.global_id} {one.name}".rstrip())
    rows = [[str(key), local_time(first_ns), local_time(last_ns)] for (first_ns, last_ns), key in spans]
    print(_columns([["tracklet", "from", "to"], *rows]))
    return OK


def list_commands(arguments: argparse.Namespace) -> int:
    """What operators had done, or wanted done, oldest first."""
    with _operator(arguments) as operator:
        told = list(operator.audit())
    if arguments.json:
        return _print_records(told)
    rows = [["time", "operator", "command", "identities", "outcome"]]
    for one in told:
        outcome = "done" if one.obeyed else f"refused: {one.reason}".removesuffix(": ")
        ids = " ".join(map(str, one.global_ids))
        rows.append([local_time(one.t_ns), one.by or "-", one.verb, ids, outcome])
    print(_columns(rows))
    return OK


def _operator(arguments: argparse.Namespace) -> Operator:
    from tracker.io.bus import Operator

    return Operator(arguments.linker, keys=arguments.keys, timeout_s=arguments.timeout)


def _say(outcome: Outcome, arguments: argparse.Namespace) -> int:
    """What a command has changed; a refusal is the user's mistake."""
    from tracker.types import Merged, Split

    if not outcome.obeyed:
        raise _mistake(f"refused: {outcome.reason}")
    if arguments.json:
        return _print_records([outcome])
    for event in outcome.events:
        match event:
            case Merged():
                print(f"{event.absorbed} is now {event.kept}")
            case Split():
                print(f"{', '.join(map(str, event.tracks))}: no longer {event.global_id}, now {event.to}")
    if outcome.verb == "name":
        print(
            f"{arguments.id} is now called {arguments.name}"
            if arguments.name
            else f"{arguments.id} has no name now"
        )
    if outcome.verb == "forget":
        print(f"{arguments.id} is forgotten")
    return OK


def _print_records(records: Sequence[Any]) -> int:
    """As JSON lines."""
    import msgspec

    from tracker.io import wire

    for record in records:
        print(msgspec.json.encode(wire.to_builtins(record)).decode())
    return OK


def local_time(t_ns: int) -> str:
    """A time as the clocks of this place show it."""
    from datetime import datetime

    return datetime.fromtimestamp(t_ns // 10**9).isoformat(" ")


# --- verbs: looking


def evaluate(arguments: argparse.Namespace) -> int:
    """Scores per camera and across cameras, or what labels of one's own say."""
    from tracker import evaluate as scoring

    if (arguments.out is None) == (arguments.tracks is None):
        raise _mistake("name the tracks once: the output folder of process, or --tracks DIR")
    arguments.tracks = arguments.tracks or arguments.out
    if arguments.labels is not None:
        return _evaluate_labels(arguments)
    frames = _frame_range(arguments.frames)
    per_camera = not arguments.across_only
    if per_camera and not scoring.trackeval_is_installed():
        print(
            "throughline: per-camera scores are left out, they need TrackEval: pip install 'throughline[eval]'",
            file=sys.stderr,
        )
        per_camera = False
    scores = scoring.evaluate(
        scoring.camera_files(arguments.truth),
        scoring.camera_files([_tracks_folder(arguments.tracks, arguments.ids)]),
        per_camera=per_camera,
        min_iou=arguments.iou,
        partial=arguments.partial,
        ignore={name: Path(file) for name, file in _pairs(arguments.ignore, "--ignore").items()},
        frames=frames,
        gap_frames=arguments.gap,
    )
    if arguments.json:
        import dataclasses

        print(json.dumps(_plain({"schema_version": 1, **dataclasses.asdict(scores)}), indent=1))
        return OK
    if scores.cameras:
        print(cameras_text(scores.cameras, scores.combined))
        print()
    print(across_text(scores.across))
    return OK


def _evaluate_labels(arguments: argparse.Namespace) -> int:
    from tracker import label as labelling
    from tracker.evaluate import camera_files, read_mot

    for option in ("partial", "frames", "ignore", "across_only"):
        if getattr(arguments, option):
            raise _mistake(f"--{option.replace('_', '-')} goes with --truth; labels are scored as they are")
    labels = labelling.read_labels(arguments.labels)
    files = camera_files([_tracks_folder(arguments.tracks, arguments.ids)])
    tracks = {camera_id: read_mot(path) for camera_id, path in files.items()}
    scores = labelling.score_labels(labels, tracks, arguments.iou)
    if arguments.json:
        import dataclasses

        print(json.dumps(_plain({"schema_version": 1, **dataclasses.asdict(scores)}), indent=1))
    else:
        print(labels_text(scores))
    return OK


def labels_text(found: LabelScores) -> str:
    """What labels say, in lines to read."""

    def told(figure: Figure, of: str) -> str:
        if not figure.labels:
            return f"- (no label speaks of {of})"
        return (
            f"{_percent(figure.share)}, 95 % interval {_percent(figure.low)} to {_percent(figure.high)} "
            f"({figure.counted} of {figure.labels} labelled {of}, weighted)"
        )

    in_run = " and ".join(f"{count} {stratum}" for stratum, count in found.arrivals.items())
    lines = [
        ("hand-overs kept", told(found.hand_overs_kept, "hand-overs")),
        ("false merges", told(found.false_merges, "joins")),
        ("labels", f"{found.labels} arrivals, which stand for {in_run} ones"),
    ]
    lefts = (
        ("nobody could tell", found.unknown),
        ("visits that this run did not see", found.unseen),
        ("not asked to the end", found.unfinished),
    )
    lines += [("not counted", f"{text}: {count}") for text, count in lefts if count]
    if found.cut_short:
        lines.append(("line-ups", f"cut short: {found.cut_short} (fewer hand-overs may have been kept)"))
    figures = (("hand-overs kept", found.hand_overs_kept), ("false merges", found.false_merges))
    vague = " and ".join(name for name, figure in figures if figure.is_vague)
    if vague:
        lines.append(("too few labels", f"for {vague}: the interval says little; label more arrivals"))
    return _table([list(line) for line in lines])


def label(arguments: argparse.Namespace) -> int:
    """Ask whether hand-overs of a run were right; for evaluate --labels."""
    from tracker.questions import ask_person

    file = arguments.labels or arguments.out / "labels.json"
    asked = ask_person(
        arguments.out,
        file,
        ask=input,
        count=arguments.arrivals,
        seed=arguments.seed,
        recordings=_pairs(arguments.recording, "--recording"),
        keep_pictures=arguments.keep_pictures,
    )
    print(f"\n{asked.finished} of {asked.drawn} arrivals labelled, of {asked.in_run} in the run: {file}")
    print(f"What they say: throughline evaluate {arguments.out} --labels {file}")
    return OK


def _tracks_folder(tracks: Path, ids: str) -> Path:
    """``out/tracks`` or ``out`` itself; for provisional ids the folder beside it."""
    inside = tracks / "tracks"
    folder = inside if inside.is_dir() else tracks
    if ids == "final":
        return folder
    published = folder.parent / "tracks_as_published"
    if not published.is_dir():
        raise _mistake(f"{published}: no such folder; --ids provisional needs the output folder of process")
    return published


def _frame_range(text: str | None) -> Any:
    from tracker.evaluate import FrameRange

    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or numbers[0] > numbers[1] or (len(numbers) == 3 and numbers[2] < 1):
        raise _mistake(f"--frames {text}: write it as FIRST:LAST or FIRST:LAST:STEP, frames from 1")
    return FrameRange(*numbers)


def cameras_text(cameras: Mapping[str, CameraScores], combined: CameraScores | None) -> str:
    """A table, one camera a line."""
    rows = [["camera", "HOTA", "DetA", "AssA", "IDF1", "MOTA", "IDSW", "FP", "FN", "ids", "persons"]]
    everything = [*cameras.items(), *([("COMBINED", combined)] if combined and len(cameras) > 1 else [])]
    for name, own in everything:
        shares = [f"{100 * value:.1f}" for value in (own.hota, own.det_a, own.ass_a, own.idf1, own.mota)]
        counts = (own.id_switches, own.false_positives, own.false_negatives, own.ids, own.persons)
        rows.append([name, *shares, *map(str, counts)])
    return _table(rows)


def across_text(found: CrossCameraScores) -> str:
    """The cross-camera figures in lines to read."""
    kept = f"{found.hand_overs_kept} of {found.hand_overs}"
    lines = [
        ("identity", f"IDF1 {_percent(found.idf1)}   IDP {_percent(found.idp)}   IDR {_percent(found.idr)}"),
        (
            "balance",
            f"HOTA {_percent(found.hota)}   DetA {_percent(found.det_a)}   AssA {_percent(found.ass_a)}",
        ),
        ("hand-overs", f"{_percent(found.hand_over_recall)} kept ({kept})"),
        (
            "false merges",
            f"{_percent(found.false_merge_rate)} of joined visits, {found.merged_ids} ids on two people",
        ),
        (
            "fragments",
            f"{found.fragments_per_person:.2f} ids touch a person at some time "
            f"({found.ids_on_persons} ids on {found.persons} people, "
            f"{found.persons_missed} missed)",
        ),
        (
            "boxes",
            f"precision {_percent(found.detection_precision)}   recall {_percent(found.detection_recall)}   "
            f"({found.track_boxes} scored, {found.truth_boxes} true)",
        ),
    ]
    lines += [("not counted", f"{text}: {count}") for text, count in found.notes.items() if count]
    return _table([list(line) for line in lines])


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: the first to the left, numbers to the right when there are many."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    to_right = len(widths) > 2
    return "\n".join(
        "  ".join(
            text.rjust(width) if to_right and k else text.ljust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, all to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _plain(value: Any) -> Any:
    """JSON knows no NaN: nothing was counted is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def list_models(arguments: argparse.Namespace) -> int:
    """The models that are shipped or can be fetched."""
    import models

    rows = [["name", "kind", "state", "MB", "licence"]]
    told = []
    terms: dict[str, list[str]] = {}  # what the pictures behind the weights ask of a user -> models
    for card in models.cards():
        terms.setdefault(card.data_terms, []).append(card.name)
        try:
            path: Path | None = models.locate(card.name)[1]
        except models.ModelError:
            path = None
        state = "shipped" if card.is_shipped else "fetched" if path else "to fetch" if card.url else "missing"
        rows.append(
            [card.name, card.kind, state, f"{card.bytes / 1e6:.1f}" if card.bytes else "?", card.licence]
        )
        told.append({**_card_fields(card), "state": state, "path": str(path) if path else None})
    if arguments.json:
        print(json.dumps({"schema_version": 1, "models": told}, indent=1))
        return OK
    print(_columns(rows))
    for said, names in terms.items():
        print(f"\n{', '.join(names)}: {said}")
    return OK


def _card_fields(card: Any) -> dict[str, Any]:
    import dataclasses

    told = {field.name: getattr(card, field.name) for field in dataclasses.fields(card)}
    return {**told, "details": dict(told["details"])}


def show_model(arguments: argparse.Namespace) -> int:
    """One model's card."""
    import models

    for name, value in _card_fields(models.card(arguments.name)).items():
        if value:
            print(f"{name:12} {json.dumps(value) if isinstance(value, dict) else value}")
    return OK


def fetch_model(arguments: argparse.Namespace) -> int:
    """Download a model; kept only with the right bytes."""
    import models

    print(models.fetch(arguments.name, sha256=arguments.sha256, trust_first=arguments.trust_first))
    return OK


def verify_models(arguments: argparse.Namespace) -> int:
    """Whether model files have the bytes that their cards promise; exit code 1 when one has not."""
    import models

    names = arguments.names or [card.name for card in models.cards() if card.is_shipped]
    answers = {name: models.verify(name) for name in names}
    for name, answer in answers.items():
        print(f"{name}: {answer}")
    return OK if all(answer == "ok" for answer in answers.values()) else FAILED


def doctor(arguments: argparse.Namespace) -> int:
    """What works on this machine; exit code 1 when something does not."""
    from tracker.doctor import examine

    wrong = 0
    for finding in examine(arguments.source, arguments.out, arguments.site):
        wrong += finding.state == "wrong"
        print(f"{finding.state:6} {finding.what:26} {finding.text}", flush=True)
    print(f"\n{wrong} problem{'s' * (wrong != 1)} found" if wrong else "\nAll fine")
    return FAILED if wrong else OK


def check_config(arguments: argparse.Namespace) -> int:
    """Every mistake of a site file with its place."""
    from tracker import config

    site = config.load(arguments.file, overrides=arguments.set)
    print(f"{arguments.file}: ok, {len(site.cameras)} cameras: {', '.join(site.cameras)}")
    return OK


def print_schema(_: argparse.Namespace) -> int:
    """The JSON Schema of a site file, for an editor to complete by."""
    from tracker import config

    print(json.dumps(config.Site.model_json_schema(), indent=1))
    return OK


# --- verbs: what a site has taught


def show_site(arguments: argparse.Namespace) -> int:
    """The ways that a site's traffic has taught, and where people come and go."""
    from tracker.io.sinks import time_text

    model = _site_model(arguments.file)
    usual = model.routes(least_share=USUAL_SHARE)
    print(f"{arguments.file}: learned until {time_text(model.t_ns)}\n")
    print(site_text(usual, model.doorways()))
    if (rare := len(model.routes()) - len(usual)) > 0:
        print(
            f"\nnot shown: {rare} ways that less than {100 * USUAL_SHARE:.0f} % of those who leave there take"
        )
    if arguments.plot is not None:
        import cv2

        from tracker.io.site_map import draw_site

        arguments.plot.write_bytes(cv2.imencode(".png", draw_site(model, usual))[1].tobytes())
        print(f"\nSee {arguments.plot}")
    return OK


def site_text(routes: Sequence[Route], doorways: Sequence[Doorway]) -> str:
    """Tables to read: one line a way, and one line a place where people come and go."""
    ways = [["from", "to", "passages", "10 %", "half", "90 %", "go there"]]
    for way in routes:
        ways.append(
            [
                f"{way.from_camera} ({way.from_zone})",
                f"{way.to_camera} ({way.to_zone})",
                f"{way.passages:.1f}",
                *(f"{gap_s:.1f} s" for gap_s in way.gaps_s),
                f"{100 * way.share:.0f} %",
            ]
        )
    doors = [["place", "came", "left", "new an hour", "not seen again"]]
    for door in doorways:
        counts = [f"{count:.1f}" for count in (door.starts, door.ends, door.new_per_hour)]
        doors.append([f"{door.camera} ({door.zone})", *counts, f"{100 * door.gone:.0f} %"])
    told = [_table(rows) for rows in (ways, doors) if len(rows) > 1]
    return "\n\n".join(told) or "nothing learned yet"


def reset_site(arguments: argparse.Namespace) -> int:
    """Delete what a site's traffic has taught, after asking."""
    _site_model(arguments.file)  # nothing else is deleted by this
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise _mistake(f"{arguments.file}: nobody here can be asked; give --yes to delete it")
        if input(f"Delete {arguments.file}? [y/N] ").strip().lower() not in ("y", "yes"):
            print("kept")
            return FAILED
    arguments.file.unlink()
    print(f"{arguments.file} is deleted")
    return OK


def _site_model(path: Path) -> SiteModel:
    from tracker.io.store import load_site

    model = load_site(path)
    if model is None:
        raise _mistake(f"{path}: no such file")
    return model


# --- arguments


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = _Parser(
        prog="throughline",
        description="One identity per person, across every camera.",
        epilog="throughline VERB --help",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="say the version and stop")
    top.add_argument("-v", "--verbose", action="store_true", help="log more")
    verbs = top.add_subparsers(metavar="VERB", required=True)

    one = _verb(verbs, "demo", demo, "run on the shipped clips and score the result")
    one.add_argument(
        "-o", "--out", type=Path, default=Path("demo_out"), help="folder to write to (default %(default)s)"
    )
    one.add_argument("--no-video", action="store_true", help="write no annotated video")
    _common(one, progress=True)

    one = _verb(verbs, "process", process_footage, "recorded footage in, one identity per person out")
    one.add_argument(
        "cameras",
        nargs="+",
        metavar="CAMERA",
        help="NAME=SOURCE (a bare path is named after its stem), or one site file; a source is a video, an image "
        "folder, a glob, or recorded boxes (.npz)",
    )
    one.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    one.add_argument(
        "--offset",
        action="append",
        default=[],
        metavar="NAME=SECONDS",
        help="this recording starts so much later",
    )
    one.add_argument(
        "--from", dest="start", type=seconds, default=0.0, metavar="S", help="start at this second"
    )
    one.add_argument("--to", type=seconds, metavar="S", help="stop at this second")
    one.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")
    one.add_argument("--video", action="store_true", help="write annotated video as well")
    one.add_argument(
        "--detections",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="recorded boxes (MOT det.txt or .npz)",
    )
    one.add_argument(
        "--recorded-score", type=share, metavar="SCORE", help="replaces the scores of recorded boxes"
    )
    one.add_argument(
        "--calibration", action="append", default=[], metavar="NAME=FILE", help="where a camera stands (JSON)"
    )
    _common(one, progress=True)

    one = _verb(verbs, "replay", replay, "link a recorded tape again")
    one.add_argument("site", type=Path, help="the site file the tape was recorded with")
    one.add_argument("tape", type=Path, help="a tape, or the folder of a linker that keeps its tapes")
    one.add_argument("-o", "--out", type=Path, required=True, help="folder to write events to")
    _common(one)

    one = _verb(verbs, "live", live, "follow live cameras on this machine until Ctrl-C")
    one.add_argument("site", type=Path, help="site file")
    one.add_argument(
        "-o", "--out", type=Path, help="folder for log, checkpoints and metrics (default: the site's)"
    )
    one.add_argument(
        "--for", dest="duration", type=seconds, metavar="S", help="stop after serving for so many seconds"
    )
    _insecure(one)
    _common(one)
    _log_options(one)

    one = _verb(verbs, "worker", worker, "some cameras of a site, for a linker elsewhere")
    one.add_argument("site", type=Path, help="site file")
    one.add_argument(
        "--camera", action="append", default=[], metavar="NAME", help="only this one (repeat; default: all)"
    )
    one.add_argument("-o", "--out", type=Path, help="folder for metrics (default: the site's)")
    _common(one)
    _log_options(one)

    one = _verb(verbs, "linker", linker, "the site's one linker, for workers elsewhere")
    one.add_argument("site", type=Path, help="site file")
    one.add_argument("-o", "--out", type=Path, help="folder for log and checkpoints (default: the site's)")
    _insecure(one)
    _common(one)
    _log_options(one)

    one = _verb(verbs, "subscribe", subscribe, "print what happens, as JSON lines")
    one.add_argument(
        "endpoint", nargs="?", default="tcp://127.0.0.1:5556", help="events endpoint (default %(default)s)"
    )
    one.add_argument("--camera", metavar="NAME", help="only events of this camera")
    one.add_argument("--identity", type=int, metavar="ID", help="only of this identity")
    one.add_argument(
        "--kind", action="append", metavar="KIND", help="only this kind, as in handed_over (repeat)"
    )
    one.add_argument(
        "--since", metavar="SEQ", help="after this event, out of the log (EPOCH:SEQ of an earlier run)"
    )
    one.add_argument(
        "--cursor",
        type=Path,
        metavar="FILE",
        help="keep the place here, and go on from it the next time; the event in hand when killed comes again",
    )
    one.add_argument("--timeout", type=seconds, metavar="S", help="end when nothing happened for so long")
    one.add_argument("--replay", metavar="ENDPOINT", help="where missed events are (default: the port after)")
    one.add_argument("--keys", metavar="DIR", help="CURVE keys, where the linker asks for them")

    inner = verbs.add_parser("keys", help="who may connect to the linker, and for what").add_subparsers(
        metavar="WHAT", required=True
    )
    one = _verb(inner, "new", make_key, "let one more in")
    one.add_argument(
        "name", metavar="NAME", help="of the machine or person; what the audit calls an operator"
    )
    one.add_argument(
        "--role",
        choices=("worker", "subscriber", "operator"),
        required=True,
        help="worker: sends updates; subscriber: hears and asks; operator: also says who is who",
    )
    _keys_folder(one)
    one = _verb(inner, "list", list_keys, "who may connect, and for what")
    _keys_folder(one)
    one = _verb(inner, "revoke", revoke_key, "shut somebody out")
    one.add_argument("name", metavar="NAME")
    _keys_folder(one)

    inner = verbs.add_parser("identity", help="say who is who, and see whom the linker knows").add_subparsers(
        metavar="WHAT", required=True
    )
    one = _verb(inner, "list", list_identities, "whom the linker knows")
    _linker_options(one)
    one = _verb(inner, "show", show_identity, "somebody's tracklets")
    one.add_argument("id", type=int, metavar="ID")
    _linker_options(one)
    one = _verb(inner, "merge", merge_identities, "these are one person")
    one.add_argument("kept", type=int, metavar="KEPT", help="the identity that stays")
    one.add_argument("others", type=int, nargs="+", metavar="OTHER", help="those that go into it")
    _linker_options(one)
    one = _verb(inner, "split", split_identity, "these tracklets are somebody else")
    one.add_argument("id", type=int, metavar="ID")
    one.add_argument(
        "--tracks",
        type=track_key,
        nargs="+",
        required=True,
        metavar="KEY",
        help="as in hall/1795465796499/12",
    )
    _linker_options(one)
    one = _verb(inner, "name", name_identity, "give somebody a name")
    one.add_argument("id", type=int, metavar="ID")
    one.add_argument("name", metavar="NAME", help="one line; '' takes the name away")
    _linker_options(one)
    one = _verb(inner, "forget", forget_identity, "delete somebody for good")
    one.add_argument("id", type=int, metavar="ID")
    _linker_options(one)
    one = _verb(inner, "log", list_commands, "what operators did")
    _linker_options(one)

    one = _verb(verbs, "label", label, "confirm some hand-overs of a run, to know how good it is")
    one.add_argument("out", type=Path, help="output folder of process")
    one.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="where the labels go, or go on (default: labels.json in OUT)",
    )
    one.add_argument(
        "--arrivals", type=whole, default=30, metavar="N", help="how many to ask about (default %(default)s)"
    )
    one.add_argument(
        "--seed", type=int, metavar="N", help="of the draw (default: 0, or what the labels began with)"
    )
    one.add_argument(
        "--recording",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="where a camera's recording is now, if it was moved",
    )
    one.add_argument(
        "--keep-pictures",
        action="store_true",
        help="leave the pictures that were asked about in OUT/label_pictures",
    )

    one = _verb(verbs, "evaluate", evaluate, "score tracks against truth, or against labels of one's own")
    one.add_argument("out", type=Path, nargs="?", help="output folder of process")
    against = one.add_mutually_exclusive_group(required=True)
    against.add_argument(
        "--truth", type=Path, nargs="+", metavar="DIR", help="<camera>.txt files or MOT sequences"
    )
    against.add_argument(
        "--labels", type=Path, metavar="FILE", help="what label made, of any run of the same recordings"
    )
    one.add_argument(
        "--tracks", type=Path, metavar="DIR", help="<camera>.txt files, as in out/tracks, instead of a folder"
    )
    one.add_argument(
        "--ids", choices=("final", "provisional"), default="final", help="provisional: as published live"
    )
    one.add_argument("--partial", action="store_true", help="the truth labels some people only")
    one.add_argument(
        "--gap", type=int, default=30, metavar="N", help="frames away that end a visit (default %(default)s)"
    )
    one.add_argument("--frames", metavar="A:B", help="score these frames only, from 1, both included")
    one.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="regions frame,x,y,w,h (frame 0: always)",
    )
    one.add_argument(
        "--iou", type=share, default=0.5, help="overlap from which a box counts (default %(default)s)"
    )
    one.add_argument("--across-only", action="store_true", help="leave out the figures per camera")
    one.add_argument("--json", action="store_true", help="print everything as JSON")

    inner = verbs.add_parser("models", help="the model files on this machine").add_subparsers(
        metavar="WHAT", required=True
    )
    one = _verb(inner, "list", list_models, "what is shipped and what can be fetched")
    one.add_argument("--json", action="store_true", help="print as JSON")
    one = _verb(inner, "show", show_model, "one model's card")
    one.add_argument("name")
    one = _verb(inner, "fetch", fetch_model, "download a model, hash checked")
    one.add_argument("name")
    one.add_argument("--sha256", help="what the bytes must hash to, where the card does not say")
    one.add_argument(
        "--trust-first", action="store_true", help="take the first copy as it comes, hold it to its hash then"
    )
    one = _verb(inner, "verify", verify_models, "check bytes against cards")
    one.add_argument("names", nargs="*", metavar="NAME", help="default: all shipped models")

    one = _verb(verbs, "doctor", doctor, "what works on this machine")
    one.add_argument("source", nargs="?", help="also try to open this file, folder, camera or URL")
    one.add_argument("--site", type=Path, metavar="FILE", help="also whether this site can run here")
    one.add_argument(
        "-o", "--out", type=Path, help="where results would go (default: the site's folder, else here)"
    )

    inner = verbs.add_parser("config", help="site files").add_subparsers(metavar="WHAT", required=True)
    one = _verb(inner, "check", check_config, "list every mistake of a site file")
    one.add_argument("file", type=Path)
    _common(one)
    _verb(inner, "schema", print_schema, "print the JSON Schema of site files")

    inner = verbs.add_parser("site", help="what a site's traffic has taught").add_subparsers(
        metavar="WHAT", required=True
    )
    one = _verb(inner, "show", show_site, "which way leads where, and how long it takes")
    one.add_argument("file", type=Path, help="a site model, as a linker keeps it")
    one.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw it")
    one = _verb(inner, "reset", reset_site, "forget what was learned")
    one.add_argument("file", type=Path, help="a site model; stop the linker that keeps it first")
    one.add_argument("-y", "--yes", action="store_true", help="do not ask")
    return top


def _verb(verbs: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=run.__doc__)
    one.set_defaults(run=run)
    one.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="log more")
    return one


def _common(one: argparse.ArgumentParser, *, progress: bool = False) -> None:
    one.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one setting, as in link.false_merge_rate=0.01",
    )
    if progress:
        one.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _log_options(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="json: one object a line, for a log collector (default %(default)s)",
    )


def _insecure(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--insecure",
        action="store_true",
        help="let other machines connect without keys (bus.insecure), on a network that is yours alone",
    )


def _keys_folder(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--keys",
        type=Path,
        default=Path("keys"),
        metavar="DIR",
        help="the linker's folder of keys, its bus.keys (default %(default)s)",
    )


def _linker_options(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--linker",
        default="tcp://127.0.0.1:5557",
        metavar="ENDPOINT",
        help="where the linker answers, its bus.replay (default %(default)s)",
    )
    one.add_argument("--keys", metavar="DIR", help="CURVE keys, where the linker asks for them")
    one.add_argument(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="S",
        help="give up after so long (default %(default)s)",
    )
    one.add_argument("--json", action="store_true", help="print as JSON lines")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        from tracker.errors import mask_url

        super().error(mask_url(message))


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import tracker

        print(f"throughline {tracker.__version__}")
        parser.exit()


def seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text} is no time in seconds")
    return value


def whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def track_key(text: str) -> TrackKey:
    """``hall/1795465796499/12``, or ``.../12@1795465801000000000``, as the key of a tracklet."""
    from tracker.types import TrackKey

    camera_id, *numbers = text.rsplit("/", 2)
    if len(numbers) == 2:
        numbers[1], at, since = numbers[1].partition("@")
        numbers += [since] if at else []
    if not (camera_id and len(numbers) >= 2 and all(number.isdecimal() for number in numbers)):
        raise argparse.ArgumentTypeError(f"{text} is no tracklet; they look like hall/1795465796499/12")
    run, number, since_ns = (*map(int, numbers), 0)[:3]
    return TrackKey(camera_id=camera_id, run=run, number=number, since_ns=since_ns)


def share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """``NAME=VALUE`` texts as a mapping."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise _mistake(f"{option} {text}: write it as NAME=VALUE")
        if name in found:
            raise _mistake(f"{option} {text}: camera {name!r} has one already")
        found[name] = value
    return found


def _number(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _mistake(f"{place}={text}: seconds are a number, as in 2.4")
    return value


def _out_folder(out: Path) -> Path:
    if out.exists() and not out.is_dir():
        raise _mistake(f"-o {out}: this is a file; name a folder")
    return out


def _out_or_none(arguments: argparse.Namespace) -> Path | None:
    return _out_folder(arguments.out) if arguments.out is not None else None


def _package_folder(name: str) -> Path:
    """Where a package of ours lies on disk."""
    import importlib

    return Path(str(importlib.import_module(name).__file__)).parent


def _mistake(text: str) -> Exception:
    from tracker.errors import UserError

    return UserError(text)


if __name__ == "__main__":
    sys.exit(main())
