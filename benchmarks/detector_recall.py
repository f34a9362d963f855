"""How many of the labelled people the detectors find, at which score, and what a frame costs.

    python -m benchmarks.detector_recall --data DIR [--models NAME_OR_PATH ...] [--pictures 150] [--json FILE]

A truth box counts as found when a box of its own overlaps it by IoU 0.5 or more (most pairs at most overlap).
Where the truth leaves people out on purpose (two sit at desks in ``ufes_lab``, ``usc_plaza`` labels only
those who change cameras), precision would mean nothing and is not shown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models import ModelError
from tracker.io.detectors import INPUT_AREA_PX, OnnxDetector, load_detector

SCORES = (0.1, 0.25, 0.3, 0.4, 0.5)
MIN_IOU = 0.5


@dataclass(frozen=True)
class DataSet:
    """A folder of clips with truth in MOTChallenge form."""

    name: str
    clips: tuple[tuple[str, str], ...]  # (pictures: a video or a folder, truth), below the data folder
    is_complete: bool  # whether everybody in the pictures is labelled


DATA_SETS = (
    DataSet(
        "ufes_lab",
        tuple((f"mtmc/ufes_lab/cam{k}.mp4", f"mtmc/ufes_lab/gt_cam{k}.txt") for k in range(4)),
        is_complete=False,
    ),
    DataSet(
        "usc_plaza",
        tuple((f"mtmc/usc_plaza/cam{k}.mp4", f"mtmc/usc_plaza/handover_gt_cam{k}.txt") for k in (1, 2)),
        is_complete=False,
    ),
    DataSet(
        "pets09_s2l1",
        (("mot/pets09_s2l1/PETS09-S2L1.mp4", "mot/pets09_s2l1/gt/gt.txt"),),
        is_complete=True,
    ),
    DataSet("tud_campus", (("mot/tud_campus/img1", "mot/tud_campus/gt/gt.txt"),), is_complete=True),
    DataSet(
        "tud_stadtmitte", (("mot/tud_stadtmitte/img1", "mot/tud_stadtmitte/gt/gt.txt"),), is_complete=True
    ),
)


@dataclass(frozen=True)
class Row:
    """One detector on one data set at one score."""

    model: str
    data: str
    score: float
    pictures: int
    truth: int  # boxes
    recall: float
    precision: float | None  # None where the truth is incomplete
    boxes_per_picture: float
    ms_per_picture: float  # median, one thread, network and all around it


def matched_ious(truth: NDArray[np.floating], boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) each truth box's IoU, 0.5 or more, with a box of its own among (M, 4), x1 y1 x2 y2; 0 where it has none."""
    low = np.maximum(truth[:, None, :2], boxes[None, :, :2])
    high = np.minimum(truth[:, None, 2:], boxes[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    area_truth, area_boxes = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (truth, boxes))
    iou = both / np.maximum(area_truth[:, None] + area_boxes[None] - both, 1e-9)
    rows, columns = linear_sum_assignment(-np.where(iou >= MIN_IOU, 1 + iou, 0))
    found = np.zeros(len(truth))
    found[rows] = np.where(iou[rows, columns] >= MIN_IOU, iou[rows, columns], 0)
    return found


def read_truth(path: Path) -> dict[int, NDArray[np.float64]]:
    """Boxes (N, 4) x1 y1 x2 y2 by frame; rows whose flag is 0 are not to be scored."""
    table = np.loadtxt(path, delimiter=",", ndmin=2)
    table = table[table[:, 6] != 0]
    boxes = np.concatenate((table[:, 2:4], table[:, 2:4] + table[:, 4:6]), axis=1)
    return {int(frame): boxes[table[:, 0] == frame] for frame in np.unique(table[:, 0])}


def pictures(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The wanted frames (1-based, rising) of a video or an image folder."""
    if path.is_dir():
        files = sorted(path.glob("*.jpg"))
        for frame in wanted:
            yield frame, np.asarray(cv2.imread(str(files[frame - 1])), np.uint8)
        return
    video = cv2.VideoCapture(str(path))
    chosen = set(wanted)
    for frame in range(1, max(wanted) + 1):
        if not video.grab():
            return
        if frame in chosen:
            yield frame, np.asarray(video.retrieve()[1], np.uint8)


def measure(detector: OnnxDetector, data_set: DataSet, folder: Path, pictures_per_set: int) -> list[Row]:
    """One row a score. The frames are spread evenly over those with truth."""
    found = dict.fromkeys(SCORES, 0)
    given = dict.fromkeys(SCORES, 0)
    count = total = 0
    times_ms = []
    for clip, truth_file in data_set.clips:
        truth = read_truth(folder / truth_file)
        frames = sorted(truth)
        step = max(1, len(frames) * len(data_set.clips) // pictures_per_set)
        for frame, image in pictures(folder / clip, frames[::step]):
            started = time.perf_counter()
            (seen,) = detector.detect([image])
            times_ms.append((time.perf_counter() - started) * 1e3)
            count += 1
            total += len(truth[frame])
            for score in SCORES:
                boxes = seen.boxes[seen.scores >= score]
                found[score] += int((matched_ious(truth[frame], boxes) > 0).sum())
                given[score] += len(boxes)
    return [
        Row(
            model=detector.name,
            data=data_set.name,
            score=score,
            pictures=count,
            truth=total,
            recall=found[score] / max(total, 1),
            precision=found[score] / max(given[score], 1) if data_set.is_complete else None,
            boxes_per_picture=given[score] / max(count, 1),
            ms_per_picture=statistics.median(times_ms) if times_ms else 0.0,
        )
        for score in SCORES
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detector_recall", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("THROUGHLINE_DATA"), help="the data folder"
    )
    parser.add_argument("--models", nargs="+", default=["nanodet_g_person", "nanodet_g_person_fp32"])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[d.name for d in DATA_SETS])
    parser.add_argument(
        "--pictures", type=int, default=150, help="pictures a data set, over all its clips (150)"
    )
    parser.add_argument("--area", type=int, default=INPUT_AREA_PX, help="pixels of the network's input")
    parser.add_argument("--overlap", type=float, default=0.6, help="IoU above which a weaker box goes (0.6)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda (cpu)")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    given = parser.parse_args(arguments)
    if given.data is None or not given.data.is_dir():
        print(f"no data at {given.data}: give the folder with --data or THROUGHLINE_DATA", file=sys.stderr)
        return 2
    cv2.setNumThreads(1)
    rows: list[Row] = []
    print(
        f"{'model':24}{'data':16}{'score':>6}{'pictures':>9}{'truth':>7}{'recall':>8}{'precis.':>8}{'boxes':>7}{'ms':>7}"
    )
    for name in given.models:
        try:
            detector = load_detector(
                name,
                device=given.device,
                min_score=min(SCORES),
                max_overlap=given.overlap,
                area_px=given.area,
            )
        except ModelError as problem:
            print(problem, file=sys.stderr)
            return 2
        for data_set in DATA_SETS:
            if given.only and data_set.name not in given.only:
                continue
            for row in measure(detector, data_set, given.data, given.pictures):
                precision = "-" if row.precision is None else f"{row.precision:.3f}"
                print(
                    f"{row.model:24}{row.data:16}{row.score:6.2f}{row.pictures:9}{row.truth:7}{row.recall:8.3f}"
                    f"{precision:>8}{row.boxes_per_picture:7.2f}{row.ms_per_picture:7.1f}",
                    flush=True,
                )
                rows.append(row)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
