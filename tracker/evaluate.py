"""How good are tracks? Scores per camera (HOTA, IDF1, MOTA) and across cameras (IDF1, hand-overs, false merges).

Files are MOT text, ``frame,id,left,top,width,height[,score[,class,...]]``, frames from 1, boxes in pixels. Across
cameras an id is global: the same id in two cameras says that it is the same person. A truth row whose seventh
column is 0 is not scored.

The cross-camera figures need NumPy and SciPy only. The per-camera figures come from TrackEval (extra ``eval``).
"""

from __future__ import annotations

import configparser
import contextlib
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tracker.errors import UserError

HOTA_LEVELS = np.arange(
    0.05, 0.99, 0.05
)  # IoU levels alpha that HOTA is the mean over (Luiten et al., IJCV 2021)
UNUSABLE_ID = -(10**9)  # ids below are given to the second box of one id in one camera's frame
MERGED_SHARE = 0.1  # an id covers a person when at least this share of its matched boxes lies on them
IGNORED_SHARE = 0.5  # a box counts as inside an ignore region when this share of it is
PEDESTRIAN = 1  # MOTChallenge's class that is scored
DISTRACTORS = (
    2,
    7,
    8,
    12,
)  # person on vehicle, static person, distractor, reflection: neither right nor wrong
NO_CAMERA_FILES = {"readme", "source", "license", "licence", "notice"}
TRUTH_PREFIXES = ("handover_gt_", "gt_")


@dataclass(frozen=True)
class Boxes:
    """The rows of one MOT file, as columns."""

    frames: NDArray[np.int64]  # (N,) from 1
    ids: NDArray[np.int64]  # (N,)
    boxes: NDArray[np.float64]  # (N, 4) left, top, width, height in pixels
    scores: NDArray[
        np.float64
    ]  # (N,) column 7: confidence of a track, "to be scored" of a truth; 1 where absent
    classes: NDArray[np.float64]  # (N,) column 8; NaN where absent

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, keep: NDArray) -> Boxes:
        """The rows chosen by a mask or an index array."""
        return Boxes(
            self.frames[keep], self.ids[keep], self.boxes[keep], self.scores[keep], self.classes[keep]
        )

    def by_frame(self) -> dict[int, NDArray[np.intp]]:
        """The row numbers of each frame, in the file's order."""
        order = np.argsort(self.frames, kind="stable")
        numbers, first = np.unique(self.frames[order], return_index=True)
        return dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=False))


class FrameRange(NamedTuple):
    """Frames ``first`` to ``last``, both included, every ``step``-th."""

    first: int
    last: int
    step: int = 1

    def __contains__(self, frame: object) -> bool:
        if not isinstance(frame, int):
            return False
        return self.first <= frame <= self.last and (frame - self.first) % self.step == 0


@dataclass(frozen=True)
class CameraScores:
    """One camera, or several combined as TrackEval combines them. Shares are in [0, 1]; MOTA may be below 0."""

    hota: float
    det_a: float
    ass_a: float
    idf1: float
    mota: float
    id_switches: int
    false_positives: int
    false_negatives: int
    ids: int
    persons: int


@dataclass(frozen=True)
class CrossCameraScores:
    """All cameras as one picture: one global id per person. Shares are in [0, 1], NaN where nothing was counted."""

    idf1: float
    idp: float
    idr: float
    idtp: int
    idfp: int
    idfn: int
    hota: float
    det_a: float
    ass_a: float
    loc_a: float
    detection_precision: float
    detection_recall: float
    idf1_limit: float  # what perfect identities would have reached on the same boxes
    persons: int
    ids: int  # in all scored boxes
    ids_on_persons: int
    hand_overs: int  # true changes from one camera to another
    hand_overs_kept: int  # after which the person still has the same id
    hand_overs_seen: int  # with an id on both sides
    hand_over_recall: float
    hand_over_recall_seen: float
    reentries: int  # true returns into the same camera
    reentry_recall: float
    visits: int  # true stays of one person in one camera
    pair_precision: float  # over pairs of visits in different cameras that share their id
    pair_recall: float
    pair_f1: float
    wrong_pairs: int  # of those that share their id: two people
    false_merge_rate: float  # 1 - pair_precision
    merged_ids: int  # ids that cover two persons or more
    merged_id_share: float
    fragments_per_person: float  # distinct global ids on one person
    persons_with_one_id: int
    persons_missed: int
    id_switches: int  # changes over time inside one camera
    by_cameras: dict[str, tuple[int, int]]  # "from>to": hand-overs, kept
    truth_boxes: int
    track_boxes: int
    notes: dict[str, int]  # what was left out, and how often


@dataclass(frozen=True)
class Scores:
    """What `evaluate` found."""

    across: CrossCameraScores
    cameras: dict[str, CameraScores]  # empty where TrackEval was not asked
    combined: CameraScores | None


@dataclass(frozen=True)
class Step:
    """What one camera's frame shows, and what was said of it."""

    camera_id: str
    frame: int
    persons: NDArray[np.int64]  # (N,)
    ids: NDArray[np.int64]  # (M,)
    iou: NDArray[np.float64]  # (N, M)


# --- files ------------------------------------------------------


def read_mot(path: Path | str) -> Boxes:
    """The rows of a MOT text file; commas or blanks separate, lines that do not start with a number are skipped.

    Raises:
        UserError: The file is not there, or a row has fewer than 6 numbers.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give a MOT text file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as MOT text ({error})") from None
    rows: list[tuple[float, ...]] = []
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or not (line[0].isdigit() or line[0] in "-."):
            continue
        try:
            values = [float(text) for text in line.replace(",", " ").split()]
        except ValueError:
            raise UserError(f"{path}:{number}: a value is no number; MOT rows hold numbers only") from None
        if len(values) < 6:
            raise UserError(f"{path}:{number}: {len(values)} values; a MOT row has frame,id,x,y,w,h at least")
        rows.append(
            (*values[:6], values[6] if len(values) > 6 else 1.0, values[7] if len(values) > 7 else math.nan)
        )
    table = np.array(rows, float).reshape(len(rows), 8)
    if not np.isfinite(table[:, :6]).all():
        raise UserError(f"{path}: a frame, id or box is not finite")
    return Boxes(
        table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:6], table[:, 6], table[:, 7]
    )


def read_ignore(path: Path | str) -> Boxes:
    """Ignore regions: ``frame,left,top,width,height``; frame 0 means every frame.

    Raises:
        UserError: The file is not there, or a row has fewer than 5 numbers.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: ignore regions cannot be read ({error})") from None
    rows = []
    for number, line in enumerate(lines, 1):
        values = line.replace(",", " ").split()
        if not values or not values[0].lstrip("-").isdigit():
            continue
        try:
            rows.append([float(value) for value in values[:5]])
        except ValueError:
            rows.append([])
        if len(rows[-1]) < 5:
            raise UserError(
                f"{path}:{number}: write an ignore region as frame,x,y,w,h (frame 0: every frame)"
            )
    table = np.array(rows, float).reshape(len(rows), 5)
    none = np.zeros(len(rows))
    return Boxes(table[:, 0].astype(np.int64), none.astype(np.int64), table[:, 1:], none, none)


def camera_files(folders: Iterable[Path | str]) -> dict[str, Path]:
    """The MOT file of each camera, by camera name, in the order given.

    A folder may hold ``<camera>.txt``, ``gt_<camera>.txt`` or ``handover_gt_<camera>.txt``; it may be a
    MOTChallenge sequence (``gt/gt.txt``, the camera is the folder's name) or hold such sequences. A file is
    one camera, named after its stem.

    Raises:
        UserError: Nothing is there, or two files speak of one camera.
    """
    found: dict[str, Path] = {}
    for folder in map(Path, folders):
        for camera_id, path in _files_in(folder):
            if camera_id in found:
                raise UserError(
                    f"{path}: camera {camera_id!r} has another file, {found[camera_id]}; keep one"
                )
            found[camera_id] = path
    return found


def _files_in(folder: Path) -> list[tuple[str, Path]]:
    if folder.is_file():
        return [(_camera_name(folder), folder)]
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with <camera>.txt files or MOT sequences")
    if (folder / "gt" / "gt.txt").is_file():
        return [(folder.resolve().name, folder / "gt" / "gt.txt")]
    sequences = [(inner.name, inner / "gt" / "gt.txt") for inner in sorted(folder.iterdir())]
    sequences = [(name, path) for name, path in sequences if path.is_file()]
    texts = [path for path in sorted(folder.glob("*.txt")) if path.stem.lower() not in NO_CAMERA_FILES]
    truths = [path for path in texts if path.name.startswith(TRUTH_PREFIXES)]
    files = sequences or [(_camera_name(path), path) for path in truths or texts]
    if not files:
        raise UserError(f"{folder}: no <camera>.txt and no MOT sequence (gt/gt.txt) in it")
    return files


def _camera_name(path: Path) -> str:
    for prefix in TRUTH_PREFIXES:
        if path.stem.startswith(prefix):
            return path.stem.removeprefix(prefix)
    return path.stem


# --- boxes ------------------------------------------------------


def box_iou(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Overlap (N, M) in [0, 1] of boxes (N, 4) and (M, 4), left, top, width, height; 0 where both have no area."""
    both = _common_area(a, b)
    union = (a[:, 2] * a[:, 3])[:, None] + (b[:, 2] * b[:, 3])[None] - both
    return np.where(union > 0, both / np.maximum(union, 1e-12), 0.0)


def box_inside(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Share (N, M) of each box of ``a`` (N, 4) that lies in each of ``b`` (M, 4)."""
    return _common_area(a, b) / np.maximum(a[:, 2] * a[:, 3], 1e-12)[:, None]


def _common_area(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    side = np.clip(high - low, 0, None)
    return side[..., 0] * side[..., 1]


def _match(iou: NDArray, min_iou: float) -> list[tuple[int, int]]:
    """Pairs (truth, track) of a frame at most total IoU, none under ``min_iou``."""
    rows, columns = linear_sum_assignment(-np.where(iou >= min_iou, iou, 0))
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if iou[a, b] >= min_iou]


# --- what is scored ---------------------------------------------


def prepare(
    truth: Mapping[str, Boxes],
    tracks: Mapping[str, Boxes],
    *,
    min_iou: float = 0.5,
    partial: bool = False,
    ignore: Mapping[str, Boxes] | None = None,
    frames: FrameRange | None = None,
) -> tuple[list[Step], dict[str, int]]:
    """The frames that count, camera after camera, and how many boxes were left out for which reason.

    Args:
        truth: By camera. Rows with score 0 are ignore regions of their frame.
        tracks: By camera; a camera without tracks counts as empty.
        partial: The truth labels some people only: a box on nobody labelled is neutral (a second box on somebody
            labelled stays wrong), and frames in which no camera has a label are not scored.
        ignore: Regions by camera: unmatched track boxes half inside are dropped. Frame 0 means every frame.
        frames: The only frames to score.

    Raises:
        UserError: Tracks of a camera without truth, or a truth that has one id twice in one frame.
    """
    if extra := sorted(set(tracks) - set(truth)):
        raise UserError(
            f"tracks of cameras without truth: {', '.join(extra)} (truth: {', '.join(sorted(truth))})"
        )
    ignore = ignore or {}
    labelled = {int(frame) for boxes in truth.values() for frame in np.unique(boxes.frames)}
    notes: Counter[str] = Counter()
    loose: Counter[int] = Counter()  # boxes on nobody labelled, by id
    doubles = 0
    nothing = Boxes(*(np.zeros(0, np.int64),) * 2, np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    steps: list[Step] = []
    for camera_id in sorted(truth):
        said = tracks.get(camera_id, nothing)
        scored = truth[camera_id].scores != 0
        people, unscored = truth[camera_id].where(scored), truth[camera_id].where(~scored)
        regions = ignore.get(camera_id, nothing)
        always = regions.boxes[regions.frames == 0]
        people_at, unscored_at, said_at, regions_at = (
            boxes.by_frame() for boxes in (people, unscored, said, regions)
        )
        none = np.zeros(0, np.intp)
        for frame in sorted(set(people_at) | set(said_at)):
            rows, columns = people_at.get(frame, none), said_at.get(frame, none)
            if frames is not None and frame not in frames:
                continue
            if partial and frame not in labelled:
                notes["track boxes on unlabelled frames"] += len(columns)
                continue
            persons = people.ids[rows]
            if len(set(persons.tolist())) != len(persons):
                raise UserError(f"the truth of {camera_id} has one id twice in frame {frame}")
            columns = columns[np.argsort(-said.scores[columns], kind="stable")]
            ids = said.ids[columns].copy()
            seen: set[int] = set()
            for k, value in enumerate(ids.tolist()):
                if value in seen:
                    doubles += 1
                    ids[k] = UNUSABLE_ID - doubles
                    notes["id twice in one camera's frame"] += 1
                seen.add(int(ids[k]))
            boxes = said.boxes[columns]
            iou = box_iou(people.boxes[rows], boxes)
            ignored = np.concatenate(
                (
                    unscored.boxes[unscored_at.get(frame, none)],
                    regions.boxes[regions_at.get(frame, none)] if frame else np.zeros((0, 4)),
                    always,
                )
            )
            keep = np.ones(len(ids), bool)
            if len(ids) and (partial or len(ignored)):
                matched = {b for _, b in _match(iou, min_iou)}
                inside = box_inside(boxes, ignored).max(axis=1, initial=0.0) >= IGNORED_SHARE
                on_somebody = iou.max(axis=0, initial=0.0) >= min_iou
                for k in range(len(ids)):
                    if k in matched:
                        continue
                    if inside[k]:
                        keep[k] = False
                        notes["track boxes in ignore regions"] += 1
                    elif partial and not on_somebody[k]:
                        keep[k] = False
                        notes["track boxes on nobody labelled"] += 1
                        loose[int(ids[k])] += 1
            if len(persons) or keep.any():
                steps.append(Step(camera_id, frame, persons, ids[keep], iou[:, keep]))
    if partial:
        # An upper bound of wrong merges with people who are not labelled (or not labelled at that time).
        used = {int(i) for step in steps for i in step.ids}
        notes["of these, boxes whose id is also on a labelled person"] = sum(
            count for i, count in loose.items() if i in used
        )
    return steps, dict(notes)


# --- across cameras ---------------------------------------------


def _columns_of(steps: Sequence[Step]) -> tuple[dict[int, int], dict[int, int]]:
    """Persons and ids numbered in the order of their first appearance."""
    persons: dict[int, int] = {}
    ids: dict[int, int] = {}
    for step in steps:
        for person in step.persons.tolist():
            persons.setdefault(person, len(persons))
        for i in step.ids.tolist():
            ids.setdefault(i, len(ids))
    return persons, ids


def identity_scores(steps: Sequence[Step], min_iou: float = 0.5) -> tuple[int, int, int]:
    """IDTP, IDFP, IDFN of the best one-to-one assignment of ids to persons (Ristani et al., ECCVW 2016)."""
    persons, ids = _columns_of(steps)
    together = np.zeros((len(persons), len(ids)))
    for step in steps:
        for a, b in zip(*np.nonzero(step.iou >= min_iou), strict=True):
            together[persons[int(step.persons[a])], ids[int(step.ids[b])]] += 1
    # Least IDFP + IDFN over everything is most boxes in common.
    true = int(together[linear_sum_assignment(-together)].sum()) if together.size else 0
    return true, sum(len(s.ids) for s in steps) - true, sum(len(s.persons) for s in steps) - true


def hota_scores(steps: Sequence[Step]) -> tuple[float, float, float, float]:
    """HOTA, DetA, AssA, LocA, means over `HOTA_LEVELS`; frames of different cameras lie after one another."""
    persons, ids = _columns_of(steps)
    aligned = np.zeros((len(persons), len(ids)))
    person_boxes, id_boxes = np.zeros(len(persons)), np.zeros(len(ids))
    rows_of = [np.array([persons[p] for p in step.persons.tolist()], int) for step in steps]
    columns_of = [np.array([ids[i] for i in step.ids.tolist()], int) for step in steps]
    for step, rows, columns in zip(steps, rows_of, columns_of, strict=True):
        if step.iou.size:
            around = step.iou.sum(0)[None] + step.iou.sum(1)[:, None] - step.iou
            share = np.where(around > 1e-12, step.iou / np.maximum(around, 1e-12), 0)
            aligned[rows[:, None], columns[None]] += share
        person_boxes[rows] += 1
        id_boxes[columns] += 1
    alignment = aligned / np.maximum(person_boxes[:, None] + id_boxes[None] - aligned, 1e-12)
    true, located = np.zeros(len(HOTA_LEVELS)), np.zeros(len(HOTA_LEVELS))
    matches = np.zeros((len(HOTA_LEVELS), *aligned.shape))
    for step, rows, columns in zip(steps, rows_of, columns_of, strict=True):
        if not step.iou.size:
            continue
        a, b = linear_sum_assignment(-alignment[rows[:, None], columns[None]] * step.iou)
        iou = step.iou[a, b]
        for level, alpha in enumerate(HOTA_LEVELS):
            good = iou >= alpha - 1e-9
            true[level] += good.sum()
            located[level] += iou[good].sum()
            matches[level, rows[a[good]], columns[b[good]]] += 1
    false = (person_boxes.sum() - true) + (id_boxes.sum() - true)
    det_a = true / np.maximum(true + false, 1)
    around_all = np.maximum(person_boxes[:, None] + id_boxes[None] - matches, 1)
    ass_a = (matches * matches / around_all).sum((1, 2)) / np.maximum(matches.sum((1, 2)), 1)
    loc_a = np.where(true > 0, located / np.maximum(true, 1), 1)
    return (
        float(np.sqrt(det_a * ass_a).mean()),
        float(det_a.mean()),
        float(ass_a.mean()),
        float(loc_a.mean()),
    )


class Stay(NamedTuple):
    """One visit of one person to one camera."""

    person: int
    camera_id: str
    frames: list[int]


def true_stays(steps: Sequence[Step], gap_frames: int) -> list[Stay]:
    """The visits: a stay ends where the person is away from the camera for more than ``gap_frames`` frames."""
    seen: dict[tuple[int, str], list[int]] = defaultdict(list)
    for step in steps:
        for person in step.persons.tolist():
            seen[person, step.camera_id].append(step.frame)
    stays = []
    for (person, camera_id), frames in seen.items():
        frames = sorted(frames)
        cuts = (
            [0] + [k for k in range(1, len(frames)) if frames[k] - frames[k - 1] > gap_frames] + [len(frames)]
        )
        stays += [Stay(person, camera_id, frames[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    return stays


@dataclass(frozen=True)
class Hits:
    """Which id lay on whom."""

    ids: dict[tuple[str, int, int], int]  # (camera, frame, person) -> id
    on_persons: dict[int, Counter[int]]  # id -> boxes on each person
    boxes: int  # matched boxes, those of unusable ids as well

    def major(self, camera_id: str, person: int, frames: Sequence[int]) -> int | None:
        """The id that was most often on a person in these frames; the earliest of equals; None for none."""
        counted = Counter(
            self.ids[camera_id, frame, person] for frame in frames if (camera_id, frame, person) in self.ids
        )
        return counted.most_common(1)[0][0] if counted else None


def find_hits(steps: Sequence[Step], min_iou: float = 0.5) -> Hits:
    """Match boxes frame by frame, without looking at identities."""
    ids: dict[tuple[str, int, int], int] = {}
    on_persons: dict[int, Counter[int]] = defaultdict(Counter)
    boxes = 0
    for step in steps:
        if not step.iou.size:
            continue
        for a, b in _match(step.iou, min_iou):
            boxes += 1
            i, person = int(step.ids[b]), int(step.persons[a])
            if i >= UNUSABLE_ID:
                ids[step.camera_id, step.frame, person] = i
                on_persons[i][person] += 1
    return Hits(ids, on_persons, boxes)


class Change(NamedTuple):
    """A person's true step from one stay to the next, and the id on each side (None: no box)."""

    from_camera: str
    to_camera: str
    before: int | None
    after: int | None

    @property
    def is_kept(self) -> bool:
        return self.before is not None and self.before == self.after


def true_changes(stays: Iterable[Stay], hits: Hits) -> list[Change]:
    """Every stay of a person but the first, joined to the camera that saw the person last before it began."""
    of_person: dict[int, list[Stay]] = defaultdict(list)
    for stay in stays:
        of_person[stay.person].append(stay)
    changes = []
    for person, visits in of_person.items():
        visits.sort(key=lambda stay: (stay.frames[0], stay.camera_id))
        for k in range(1, len(visits)):
            camera_id, frames = visits[k].camera_id, visits[k].frames
            start = frames[0]
            last = max(visits[:k], key=lambda stay: _seen_last(stay, start, camera_id))
            before = [frame for frame in last.frames if frame <= start]
            found = sum((last.camera_id, frame, person) in hits.ids for frame in before)
            if found < min(5, len(last.frames)):
                before = last.frames  # both views gained the person nearly at once: judge the whole stay
            changes.append(
                Change(
                    last.camera_id,
                    camera_id,
                    hits.major(last.camera_id, person, before),
                    hits.major(camera_id, person, frames),
                )
            )
    return changes


def _seen_last(stay: Stay, start: int, camera_id: str) -> tuple[int, bool, int]:
    """Latest sighting first; then another camera before the same one; then the stay that began last."""
    seen = max([frame for frame in stay.frames if frame <= start] or [-1])
    return seen, stay.camera_id != camera_id, stay.frames[0]


def _visit_pairs(stays: Sequence[Stay], hits: Hits) -> tuple[int, int, int]:
    """Pairs of stays in different cameras: rightly joined, wrongly joined, wrongly apart."""
    known = [(s.person, s.camera_id, hits.major(s.camera_id, s.person, s.frames)) for s in stays]
    true = false = missed = 0
    for i in range(len(known)):
        for j in range(i):
            if known[i][1] == known[j][1]:
                continue
            same = known[i][0] == known[j][0]
            joined = known[i][2] is not None and known[i][2] == known[j][2]
            true += same and joined
            false += joined and not same
            missed += same and not joined
    return true, false, missed


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def score_across(
    steps: Sequence[Step], notes: Mapping[str, int], *, min_iou: float = 0.5, gap_frames: int = 30
) -> CrossCameraScores:
    """Every cross-camera figure of prepared frames; see `prepare`."""
    idtp, idfp, idfn = identity_scores(steps, min_iou)
    hota, det_a, ass_a, loc_a = hota_scores(steps)
    truth_boxes, track_boxes = idtp + idfn, idtp + idfp
    hits = find_hits(steps, min_iou)
    stays = true_stays(steps, gap_frames)
    changes = true_changes(stays, hits)
    handed = [change for change in changes if change.from_camera != change.to_camera]
    returned = [change for change in changes if change.from_camera == change.to_camera]
    kept = sum(change.is_kept for change in handed)
    seen = sum(change.before is not None and change.after is not None for change in handed)
    by_cameras: dict[str, tuple[int, int]] = {}
    for change in handed:
        name = f"{change.from_camera}>{change.to_camera}"
        total, good = by_cameras.get(name, (0, 0))
        by_cameras[name] = (total + 1, good + change.is_kept)
    true, false, missed = _visit_pairs(stays, hits)
    merged = sum(
        sum(n >= max(1, MERGED_SHARE * counts.total()) for n in counts.values()) > 1
        for counts in hits.on_persons.values()
    )
    ids_of: dict[int, set[int]] = defaultdict(set)
    switches, last = 0, dict[tuple[str, int], int]()
    for camera_id, frame, person in sorted(hits.ids):
        i = hits.ids[camera_id, frame, person]
        ids_of[person].add(i)
        switches += last.get((camera_id, person), i) != i
        last[camera_id, person] = i
    persons, ids = _columns_of(steps)
    return CrossCameraScores(
        idf1=2 * idtp / max(truth_boxes + track_boxes, 1),
        idp=idtp / max(track_boxes, 1),
        idr=idtp / max(truth_boxes, 1),
        idtp=idtp,
        idfp=idfp,
        idfn=idfn,
        hota=hota,
        det_a=det_a,
        ass_a=ass_a,
        loc_a=loc_a,
        detection_precision=_share(hits.boxes, track_boxes),
        detection_recall=_share(hits.boxes, truth_boxes),
        idf1_limit=_share(2 * hits.boxes, truth_boxes + track_boxes),
        persons=len(persons),
        ids=sum(i >= UNUSABLE_ID for i in ids),
        ids_on_persons=len(hits.on_persons),
        hand_overs=len(handed),
        hand_overs_kept=kept,
        hand_overs_seen=seen,
        hand_over_recall=_share(kept, len(handed)),
        hand_over_recall_seen=_share(kept, seen),
        reentries=len(returned),
        reentry_recall=_share(sum(change.is_kept for change in returned), len(returned)),
        visits=len(stays),
        pair_precision=_share(true, true + false),
        pair_recall=_share(true, true + missed),
        pair_f1=_share(2 * true, 2 * true + false + missed),
        wrong_pairs=false,
        false_merge_rate=_share(false, true + false),
        merged_ids=merged,
        merged_id_share=_share(merged, len(hits.on_persons)),
        fragments_per_person=_share(sum(len(found) for found in ids_of.values()), len(persons)),
        persons_with_one_id=sum(len(found) == 1 for found in ids_of.values()),
        persons_missed=len(persons) - len(ids_of),
        id_switches=switches,
        by_cameras=by_cameras,
        truth_boxes=truth_boxes,
        track_boxes=track_boxes,
        notes=dict(notes),
    )


# --- per camera -------------------------------------------------


def trackeval_is_installed() -> bool:
    """Whether the extra ``eval`` is there."""
    from importlib.util import find_spec

    return find_spec("trackeval") is not None


def mot_steps(truth: Boxes, tracks: Boxes, last_frame: int) -> list[Step]:
    """Frames 1 to ``last_frame`` as MOTChallenge scores them.

    Truth rows with score 0 are not scored. Where every truth row has a class 1..13 (MOT16 and later), track boxes
    matched to a distractor are dropped first and only pedestrians are scored.
    """
    has_classes = len(truth) > 0 and bool(
        np.all((truth.classes >= 1) & (truth.classes <= 13) & (truth.classes == np.round(truth.classes)))
    )
    steps = []
    truth_at, tracks_at, none = truth.by_frame(), tracks.by_frame(), np.zeros(0, np.intp)
    for frame in range(1, last_frame + 1):
        rows, columns = truth_at.get(frame, none), tracks_at.get(frame, none)
        iou = box_iou(truth.boxes[rows], tracks.boxes[columns])
        scored = truth.scores[rows] != 0
        if has_classes:
            distractor = np.isin(truth.classes[rows], DISTRACTORS)
            dropped = [b for a, b in _match(iou, 0.5) if distractor[a]]
            columns, iou = np.delete(columns, dropped), np.delete(iou, dropped, axis=1)
            scored &= truth.classes[rows] == PEDESTRIAN
        steps.append(Step("", frame, truth.ids[rows[scored]], tracks.ids[columns], iou[scored]))
    return steps


def sequence_length(path: Path) -> int | None:
    """``seqLength`` of the seqinfo.ini beside a sequence's gt folder; None where there is none."""
    ini = path.parent.parent / "seqinfo.ini"
    if path.parent.name != "gt" or not ini.is_file():
        return None
    parser = configparser.ConfigParser()
    try:
        parser.read(ini, encoding="utf-8")
        return parser.getint("Sequence", "seqLength")
    except (configparser.Error, ValueError) as error:
        raise UserError(f"{ini}: no seqLength in [Sequence] ({error})") from None


def score_cameras(steps: Mapping[str, Sequence[Step]]) -> tuple[dict[str, CameraScores], CameraScores | None]:
    """HOTA, IDF1, MOTA of every camera, and of all combined as TrackEval does (by boxes, not by mean).

    Raises:
        UserError: TrackEval is not installed.
    """
    try:
        from trackeval.metrics import CLEAR, HOTA, Count, Identity
    except ImportError:
        raise UserError(
            "per-camera scores need TrackEval: install it with pip install 'throughline[eval]'"
        ) from None
    with contextlib.redirect_stdout(io.StringIO()):
        quiet = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
        metrics = {"hota": HOTA(), "clear": CLEAR(quiet), "identity": Identity(quiet), "count": Count()}
        raw: dict[str, dict[str, Any]] = {}
        for camera_id, own in steps.items():
            data = _as_trackeval(own)
            raw[camera_id] = {name: metric.eval_sequence(data) for name, metric in metrics.items()}
        cameras = {camera_id: _camera_scores(found) for camera_id, found in raw.items()}
        if not raw:
            return {}, None
        combined = {
            name: metric.combine_sequences({camera_id: found[name] for camera_id, found in raw.items()})
            for name, metric in metrics.items()
        }
    return cameras, _camera_scores(combined)


def _as_trackeval(steps: Sequence[Step]) -> dict[str, Any]:
    """TrackEval's input: ids numbered from 0 without holes."""
    persons, ids = _columns_of(steps)
    return {
        "gt_ids": [np.array([persons[p] for p in step.persons.tolist()], int) for step in steps],
        "tracker_ids": [np.array([ids[i] for i in step.ids.tolist()], int) for step in steps],
        "similarity_scores": [step.iou for step in steps],
        "num_gt_ids": len(persons),
        "num_tracker_ids": len(ids),
        "num_gt_dets": sum(len(step.persons) for step in steps),
        "num_tracker_dets": sum(len(step.ids) for step in steps),
        "num_timesteps": len(steps),
    }


def _camera_scores(found: Mapping[str, Any]) -> CameraScores:
    return CameraScores(
        hota=float(found["hota"]["HOTA"].mean()),
        det_a=float(found["hota"]["DetA"].mean()),
        ass_a=float(found["hota"]["AssA"].mean()),
        idf1=float(found["identity"]["IDF1"]),
        mota=float(found["clear"]["MOTA"]),
        id_switches=int(found["clear"]["IDSW"]),
        false_positives=int(found["clear"]["CLR_FP"]),
        false_negatives=int(found["clear"]["CLR_FN"]),
        ids=int(found["count"]["IDs"]),
        persons=int(found["count"]["GT_IDs"]),
    )


# --- both -------------------------------------------------------


def evaluate(
    truth: Mapping[str, Path],
    tracks: Mapping[str, Path],
    *,
    per_camera: bool = True,
    min_iou: float = 0.5,
    partial: bool = False,
    ignore: Mapping[str, Path] | None = None,
    frames: FrameRange | None = None,
    gap_frames: int = 30,
) -> Scores:
    """Score track files against truth files, by camera; see `camera_files`, `prepare` and `mot_steps`.

    Args:
        per_camera: Ask TrackEval for the per-camera figures. They follow MOTChallenge's protocol unless
            ``partial``, ``ignore`` or ``frames`` is given, which then count for them too.
        min_iou: Overlap from which a box is on a person, in (0, 1].
        gap_frames: Frames away from a camera after which coming back is a new visit.

    Raises:
        UserError: A file is missing or wrong, a camera has no truth, or TrackEval is needed and not installed.
    """
    true_boxes = {camera_id: read_mot(path) for camera_id, path in truth.items()}
    said_boxes = {camera_id: read_mot(path) for camera_id, path in tracks.items()}
    regions = {camera_id: read_ignore(path) for camera_id, path in (ignore or {}).items()}
    if unknown := sorted(set(regions) - set(truth)):
        raise UserError(f"ignore regions of cameras without truth: {', '.join(unknown)}")
    steps, notes = prepare(
        true_boxes, said_boxes, min_iou=min_iou, partial=partial, ignore=regions, frames=frames
    )
    across = score_across(steps, notes, min_iou=min_iou, gap_frames=gap_frames)
    if not per_camera:
        return Scores(across, {}, None)
    nothing = Boxes(*(np.zeros(0, np.int64),) * 2, np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    own: dict[str, list[Step]] = {}
    for camera_id, path in truth.items():
        if partial or regions or frames is not None:
            own[camera_id] = [step for step in steps if step.camera_id == camera_id]
            continue
        boxes = true_boxes[camera_id]
        last = sequence_length(path) or int(boxes.frames.max(initial=0))
        own[camera_id] = mot_steps(boxes, said_boxes.get(camera_id, nothing), last)
    cameras, combined = score_cameras(own)
    return Scores(across, cameras, combined)
