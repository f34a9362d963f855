"""A person is asked: from a small run with pictures, over the command line, to a score; nothing private is left."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import tracker.demo
from run_tracker import main
from tests.scenes import blurred, look
from tracker.config import from_values
from tracker.errors import UserError
from tracker.io.contact import CAPTION_PX, GAP_PX, Block, Footage, cut_out, sheet
from tracker.io.sources import SECOND_NS, open_recording
from tracker.label import read_labels
from tracker.process import process
from tracker.questions import ROW_PX, ask_person

COLOURS = {1: (40, 40, 220), 2: (40, 200, 40), 3: (220, 60, 40)}  # BGR: red, green and blue people
WALKS = (  # camera, person, first frame, last frame: red and green go from a to b, blue comes to b alone
    ("a", 1, 1, 30),
    ("b", 1, 41, 70),
    ("a", 2, 51, 80),
    ("b", 2, 91, 120),
    ("b", 3, 131, 160),
)
FRAMES = 160


def box_at(step: int) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of somebody who walks to the right."""
    return 20 + 4 * step, 30, 40 + 4 * step, 80


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The recordings and the folder of their run."""
    root = tmp_path_factory.mktemp("filmed")
    rng = np.random.default_rng(0)
    cameras = {}
    for camera in "ab":
        (root / camera).mkdir()
        images = np.full((FRAMES + 1, 100, 200, 3), 128, np.uint8)
        rows = []
        for _, person, first, last in (walk for walk in WALKS if walk[0] == camera):
            for n in range(first, last + 1):
                x1, y1, x2, y2 = box_at(n - first)
                images[n, y1:y2, x1:x2] = COLOURS[person]
                rows.append((n, (x1, y1, x2, y2), blurred(look(person), rng)))
        for n in range(1, FRAMES + 1):
            cv2.imwrite(str(root / camera / f"{n:04d}.png"), images[n])
        np.savez(
            root / f"{camera}.npz",
            frame=[row[0] for row in rows],
            box=np.array([row[1] for row in rows], np.float32),
            score=np.full(len(rows), 0.9),
            emb=np.stack([row[2] for row in rows]),
            width=200,
            height=100,
        )
        cameras[camera] = {
            "url": str(root / camera),
            "fps": 10,
            "detections": str(root / f"{camera}.npz"),
        }
    settings = {"detector": {"kind": "recorded"}, "embedder": {"kind": "none"}, "flow": {"kind": "none"}}
    process(from_values({"cameras": cameras, **settings}, source="test"), root / "out")
    return root, root / "out"


@pytest.fixture
def out(filmed: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the run, to write labels into."""
    folder = tmp_path / "out"
    (folder / "tracks").mkdir(parents=True)
    for path in (*filmed[1].glob("*.json"), *filmed[1].glob("tracks/*.txt")):
        (folder / path.relative_to(filmed[1])).write_bytes(path.read_bytes())
    return folder


def typed(*lines: str, seen: Callable[[str], None] = lambda prompt: None) -> Callable[[str], str]:
    """Somebody who types these lines, and then is gone; ``seen`` is shown every prompt."""
    left = list(lines)

    def ask(prompt: str) -> str:
        seen(prompt)
        if not left:
            raise EOFError
        return left.pop(0)

    return ask


def persons_in(picture: Path) -> tuple[list[int], list[int]]:
    """Whom a sheet shows: in its first line, and below."""
    image = cv2.imread(str(picture)).astype(int)
    first = CAPTION_PX + ROW_PX + GAP_PX
    found = [
        [person for person, colour in COLOURS.items() if (np.abs(part - colour).max(axis=2) < 40).sum() > 100]
        for part in (image[:first], image[first:])
    ]
    return found[0], found[1]


def test_the_run_is_what_the_tests_take_it_for(out: Path):
    told = json.loads((out / "identities.json").read_text())["identities"]
    stays = [[(v["camera_id"], v["first_frame"]) for v in one["visits"]] for one in told]
    assert stays == [[("a", 1), ("b", 41)], [("a", 51), ("b", 91)], [("b", 131)]]
    assert json.loads((out / "run.json").read_text())["starts_ns"] == {"a": 0, "b": 0}


def test_from_questions_to_a_score(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Four arrivals: red and green in b (joined), green in a (new; it might be red) and blue in b (new)."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nn\ny\nn\n"))
    assert main(["label", str(out)]) == 0
    told = capsys.readouterr().out
    assert "1 of 4   " in told and "4 of 4 arrivals labelled, of 4 in the run" in told
    labels = read_labels(out / "labels.json")
    assert [one.stratum for one in labels.labels] == ["joined", "new", "joined", "new"]
    assert labels.arrivals == {"joined": 2, "new": 2}
    assert not (out / "label_pictures").exists()
    assert main(["evaluate", str(out), "--labels", str(out / "labels.json")]) == 0
    told = capsys.readouterr().out
    assert re.search(r"hand-overs kept +100.0 %.*2 of 2 labelled", told)
    assert re.search(r"false merges +0.0 %.*0 of 2 labelled", told) and "too few labels" in told
    assert (
        main(["evaluate", "--tracks", str(out / "tracks"), "--labels", str(out / "labels.json"), "--json"])
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["hand_overs_kept"]["share"] == 1.0 and told["arrivals"] == {"joined": 2, "new": 2}


def test_a_question_shows_the_two_visits_and_nobody_else(out: Path):
    folder, shown = out / "label_pictures", []

    def seen(prompt: str) -> None:
        [picture] = folder.iterdir()
        assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(picture.stat().st_mode)) == (0o700, 0o600)
        cameras = re.findall(r"^  (\w)  \d\d:\d\d", prompt, re.MULTILINE)
        shown.append((cameras, persons_in(picture)))

    ask_person(out, out / "labels.json", ask=typed("y", "n", "y", "n", seen=seen), count=30)
    # The earlier visit above the later one. In a line-up the arrival is above, and alone said to be there then.
    assert sorted(shown) == [
        (["a", "b"], ([1], [1])),
        (["a", "b"], ([2], [2])),
        (["b"], ([3], [1, 2])),
        (["b", "a"], ([1], [2])),
    ]


def test_asked_again_it_goes_on_where_it_stopped(out: Path):
    file, prompts = out / "labels.json", list[str]()
    assert ask_person(out, file, ask=typed("y"), count=30).finished == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = read_labels(file).labels
    # An answer that is none is asked for again, with the choice alone; q stops; b takes the first answer back.
    asked = ask_person(out, file, ask=typed("what?", "7", "q", seen=prompts.append), count=30)
    assert asked.finished == 1 and prompts[0].startswith("\n2 of 4")
    assert prompts[1] == prompts[2] == prompts[0].splitlines()[-1]
    assert ask_person(out, file, ask=typed("b"), count=30).finished == 0
    assert read_labels(file).labels == ()
    ask_person(out, file, ask=typed("y"), count=30)
    assert read_labels(file).labels == first
    ask_person(out, file, ask=typed("n", "?", "n"), count=30)
    assert len(read_labels(file).labels) == 4
    assert ask_person(out, file, ask=typed(), count=30).finished == 4  # nothing is left to ask


def test_fewer_are_asked_where_fewer_are_wanted(out: Path):
    asked = ask_person(out, out / "labels.json", ask=typed("y", "n", "y", "n"), count=2, seed=5)
    assert (asked.finished, asked.drawn, asked.in_run) == (2, 2, 4)
    labels = read_labels(out / "labels.json")
    assert labels.seed == 5 and [one.weight for one in labels.labels] == [2.0, 2.0]
    asked = ask_person(out, out / "labels.json", ask=typed("y", "n", "y", "n"), count=4)
    assert asked.finished == 4


def test_pictures_stay_where_that_was_asked_for(out: Path):
    ask_person(out, out / "labels.json", ask=typed("y", "n"), count=30, keep_pictures=True)
    kept = sorted(path.name for path in (out / "label_pictures").iterdir())
    assert [name.split("_")[0] for name in kept] == ["001", "002", "003"]
    ask_person(out, out / "labels.json", ask=typed("y"), count=30)
    assert not (out / "label_pictures").exists()


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_no_picture_is_left_when_the_terminal_goes(out: Path, sign: str, request: pytest.FixtureRequest):
    if sign == "SIGINT":  # a shell starts what runs in the background with Ctrl-C ignored
        request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(getattr(signal, sign))

    def seen(prompt: str) -> None:
        os.kill(os.getpid(), getattr(signal, sign))

    with pytest.raises(KeyboardInterrupt):
        ask_person(out, out / "labels.json", ask=typed("y", seen=seen), count=30)
    assert not (out / "label_pictures").exists() and signal.getsignal(getattr(signal, sign)) == before


def changed(path: Path, change: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_recordings_that_were_moved_are_named_with_the_option(
    filmed: tuple[Path, Path], out: Path, capsys: pytest.CaptureFixture[str]
):
    changed(out / "run.json", lambda run: run["settings"]["cameras"]["b"].update(url="/gone/b.mp4"))
    assert main(["label", str(out)]) == 2
    error = capsys.readouterr().err
    assert "cameras.b: no such file or folder: /gone/b.mp4" in error and "--recording b=FILE" in error
    assert error.count("\n") == 1
    recordings = {"b": str(filmed[0] / "b")}
    assert ask_person(out, out / "labels.json", ask=typed("y"), count=30, recordings=recordings).finished == 1
    with pytest.raises(UserError, match="--recording c: there is no such camera"):
        ask_person(out, out / "labels.json", ask=typed(), count=30, recordings={"c": "c.mp4"})


def test_a_camera_without_pictures_is_not_asked_about(filmed: tuple[Path, Path], out: Path):
    changed(out / "run.json", lambda run: run["settings"]["cameras"]["a"].update(url="a.npz"))
    # What is left is b alone, where red, green and blue came one after the other.
    asked = ask_person(out, out / "labels.json", ask=typed("n", "n"), count=30)
    assert (asked.finished, asked.in_run) == (2, 2)
    changed(out / "run.json", lambda run: run["settings"]["cameras"]["b"].update(url="b.npz"))
    with pytest.raises(UserError, match="boxes without pictures.*--recording a=FILE"):
        ask_person(out, out / "more.json", ask=typed(), count=30)


def test_what_cannot_be_labelled_is_said(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def refused(*arguments: str) -> str:
        assert main(["label", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "no finished run there" in refused(str(tmp_path / "nowhere"))
    assert "no finished run there" in refused(str(out / "run.json"))
    file = out / "labels.json"
    ask_person(out, file, ask=typed("y"), count=30, seed=1)
    assert "begun with --seed 1" in refused(str(out), "--seed", "2")
    changed(file, lambda labels: labels.update(run="another"))
    assert "labels of another run" in refused(str(out))
    changed(out / "identities.json", lambda told: told.update(identities=told["identities"][:1]))
    changed(
        out / "identities.json",
        lambda told: told["identities"][0].update(visits=told["identities"][0]["visits"][:1]),
    )
    assert "nothing to label" in refused(str(out), "--labels", str(out / "other.json"))
    changed(out / "run.json", lambda run: run.pop("starts_ns"))
    assert "of another version" in refused(str(out))


def test_labels_are_scored_with_nothing_else(out: Path, capsys: pytest.CaptureFixture[str]):
    file = str(out / "labels.json")
    ask_person(out, Path(file), ask=typed("y"), count=30)

    def refused(*arguments: str) -> str:
        assert main(["evaluate", *arguments]) == 2
        return capsys.readouterr().err

    assert "name the tracks once" in refused("--labels", file)
    assert "name the tracks once" in refused(str(out), "--tracks", str(out), "--labels", file)
    assert "--partial goes with --truth" in refused(str(out), "--labels", file, "--partial")
    assert "--across-only goes with --truth" in refused(str(out), "--labels", file, "--across-only")
    assert "needs the output folder" in refused(str(out), "--labels", file, "--ids", "provisional")
    assert "no such file" in refused(str(out), "--labels", str(out / "none.json"))


# --- pictures


def test_frames_are_found_wherever_reading_starts():
    clip = Path(tracker.demo.__file__).parent / "court.mp4"
    start_ns = 1_700_000_000 * SECOND_NS
    found = Footage("court", str(clip), start_ns, None).frames([203, 207], start_ns + 20 * SECOND_NS)
    slowly = {
        frame.seq + 1: frame.image
        for frame in open_recording("court", str(clip), start_ns=0)
        if frame.seq + 1 in (203, 207)
    }
    assert sorted(found) == [203, 207]
    assert all(np.array_equal(found[n], slowly[n]) for n in slowly)
    # From 20.5 s on, at ten frames a second, frame 203 is over.
    assert list(Footage("court", str(clip), 0, None).frames([203, 207], round(20.5 * SECOND_NS))) == [207]
    assert Footage("court", str(clip), 0, None).frames([999], 24 * SECOND_NS) == {}


def numbered(height: int, width: int) -> NDArray[np.uint8]:
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


def test_people_are_cut_out_with_a_margin_that_ends_at_the_picture():
    image = numbered(100, 200)
    # 20 x 40 px at (50, 30): 2 px more to each side, 4 px above and below.
    assert np.array_equal(cut_out(image, (50, 30, 20, 40)), image[26:74, 48:72])
    assert np.array_equal(cut_out(image, (-10, -10, 20, 40)), image[0:34, 0:12])
    for outside in ((500, 500, 20, 40), (-500, -500, 20, 40), (50, 30, 0, 0)):
        assert cut_out(image, outside).size >= 3


def test_a_sheet_has_a_line_for_every_line_and_holds_what_has_no_picture():
    tall, wide = numbered(80, 40), numbered(40, 80)
    data = sheet([[Block("one", [tall, wide])], [Block("two", []), Block("three", [tall])]], [100, 60])
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    # 24 px of text and 6 px below, for each line. In the first 50 + 6 and 100 + 6 px side by side.
    assert image.shape[0] == 24 + 100 + 6 + 24 + 60 + 6
    assert image.shape[1] >= 56 + 106
