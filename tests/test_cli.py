"""The command line: quick help, one sentence for each mistake, no traceback, exit codes that scripts can use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

import run_tracker
from run_tracker import CAMERA, main, named_camera
from tracker.core.topology import Crossings, Passages, SiteModel
from tracker.errors import UserError
from tracker.io.store import save_site
from tracker.process import Summary
from tracker.types import TrackKey

ROOT = Path(__file__).resolve().parent.parent


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run one command in this process: exit code, standard output, standard error."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_answers_in_half_a_second():
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "run_tracker.py", "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        spent.append(time.perf_counter() - start)
    assert done.returncode == 0 and done.stderr == ""
    for verb in (
        "demo",
        "process",
        "live",
        "worker",
        "linker",
        "subscribe",
        "keys",
        "identity",
        "evaluate",
        "models",
        "doctor",
        "config",
        "site",
    ):
        assert verb in done.stdout
    assert min(spent) < 0.5


@pytest.mark.parametrize(
    "verb",
    [
        "demo",
        "process",
        "live",
        "worker",
        "linker",
        "subscribe",
        "keys",
        "identity",
        "label",
        "evaluate",
        "models",
        "doctor",
        "config",
        "site",
        "replay",
    ],
)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert verb in capsys.readouterr().out


def test_a_camera_is_named_or_takes_its_stem():
    assert named_camera("hall=/a/b=c.mp4") == ("hall", "/a/b=c.mp4")
    assert named_camera("/videos/main hall.mp4") == ("main_hall", "/videos/main hall.mp4")
    assert named_camera("/videos/a=b.mp4") == ("a_b", "/videos/a=b.mp4")
    assert CAMERA.fullmatch("rtsp://host/live?channel=1") is None
    for nameless in ("rtsp://host/live", "clips/*.mp4", "0"):
        with pytest.raises(UserError, match="name this camera"):
            named_camera(nameless)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["process", "a=x.mp4", "a=y.mp4", "-o", "out"], "camera 'a' is given twice"),
        (["process", "in/a.mp4", "out/a.mp4", "-o", "out"], "camera 'a' is given twice"),
        (["process", "a=x.mp4", "-o", "file"], "-o file: this is a file"),
        (["process", "a=x.mp4", "-o", "out", "--offset", "b=1"], "there is no camera 'b'"),
        (["process", "a=x.mp4", "-o", "out", "--offset", "a=soon"], "seconds are a number"),
        (["process", "a=x.mp4", "-o", "out", "--offset", "soon"], "write it as NAME=VALUE"),
        (["process", "a=x.mp4", "-o", "out", "--from", "9", "--to", "3"], "--to 3 is not after --from 9"),
        (
            ["process", "a=x.mp4", "-o", "out", "--set", "link.false_merge_rat=0.1"],
            "did you mean false_merge_rate",
        ),
        (["process", "a=x.mp4", "-o", "out", "--calibration", "a=none.json"], "no such calibration file"),
        (["process", "site.yaml", "b=x.mp4", "-o", "out"], "give it alone"),
        (["process", "nowhere.yaml", "-o", "out"], "nowhere.yaml: no such file"),
        (["config", "check", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["live", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["worker", "good.yaml", "--camera", "garden"], "has no camera 'garden'"),
        (["evaluate", "--truth", "none", "--tracks", "none"], "none: no such folder"),
        (["evaluate", "--truth", "truth", "--tracks", "truth", "--frames", "9:1"], "write it as FIRST:LAST"),
        (
            ["evaluate", "--truth", "truth", "--tracks", "truth", "--ids", "provisional"],
            "needs the output folder",
        ),
        (["site", "show", "nowhere.json"], "nowhere.json: no such file"),
        (["site", "show", "good.yaml"], "good.yaml: cannot be read (no site model"),
        (["site", "reset", "good.yaml", "--yes"], "good.yaml: cannot be read (no site model"),
        (["identity", "list", "--linker", "the linker"], "the linker: is no endpoint"),
        (
            ["identity", "forget", "7", "--linker", "ipc://nobody", "--timeout", "0.1"],
            "no linker answered within 0.1 s",
        ),
        (["identity", "merge", "1", "2", "--keys", "nowhere"], "no readable key"),
        (["models", "show", "nanodet"], "no model is named 'nanodet'"),
        (["models", "fetch", "reid_smal"], "no model is named"),
    ],
)
def test_each_mistake_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "good.yaml").write_text("cameras: {hall: hall.mp4}\n")
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "hall.txt").write_text("1,1,0,0,10,20,1\n")
    code, out, error = said(capsys, *arguments)
    assert code == 2
    assert sentence in error
    assert error.count("\n") == 1 and "Traceback" not in error and out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["process", "rtsp://me:hunter2@host/x", "-o", "out"],
        ["process", "a=rtsp://me:hunter2@host/x", "-o", "out"],
        ["process", "rtsp://me:hunter2@host/x.yaml", "-o", "out"],
        ["process", "a.mp4", "--offset", "rtsp://me:hunter2@host/x", "-o", "out"],
        ["live", "site.yaml", "rtsp://me:hunter2@host/x"],
    ],
)
def test_no_message_holds_a_password(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Credentials of a location that could not be used were printed."""
    monkeypatch.chdir(tmp_path)
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(str(stop.code))
    said = capsys.readouterr()
    assert code == 2 and "host" in said.err
    assert "hunter2" not in said.err + said.out


def test_small_matrices_are_done_on_one_thread_unless_somebody_says_otherwise():
    code = "import os, run_tracker; run_tracker.main({words}); print(os.environ.get('OPENBLAS_NUM_THREADS'))"
    for given, expected in (
        ({}, "1"),
        ({"OPENBLAS_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "3"}, "None"),
    ):
        plain = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        done = subprocess.run(
            [sys.executable, "-c", code.format(words=["config", "schema"])],
            capture_output=True, text=True, check=True, env={**plain, **given},
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["merge", "1"], "the following arguments are required: OTHER"),
        (["merge", "1", "ada"], "invalid int value: 'ada'"),
        (["split", "1"], "the following arguments are required: --tracks"),
        (
            ["split", "1", "--tracks", "hall/12"],
            "hall/12 is no tracklet; they look like hall/1795465796499/12",
        ),
        (["split", "1", "--tracks", "hall/1/x"], "hall/1/x is no tracklet"),
    ],
)
def test_what_an_operator_mistypes_is_said(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as stop:
        main(["identity", *words])
    assert stop.value.code == 2 and sentence in capsys.readouterr().err


def test_a_tracklet_is_typed_as_it_is_shown():
    key = TrackKey(camera_id="hall.2", run=1795465796499, number=12)
    assert run_tracker.track_key(str(key)) == key
    part = msgspec.structs.replace(key, since_ns=5)
    assert run_tracker.track_key(str(part)) == part


def test_config_check_lists_all_mistakes_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "site.yaml"
    path.write_text("cameras:\n  hall: {urll: a.mp4}\nlink: {max_gap_s: -1}\n")
    code, _, error = said(capsys, "config", "check", str(path))
    assert code == 2
    assert "cameras.hall.urll: unknown name; did you mean url?" in error
    assert "link.max_gap_s" in error
    path.write_text("cameras:\n  hall: a.mp4\n")
    code, out, _ = said(capsys, "config", "check", str(path))
    assert code == 0 and "1 cameras: hall" in out


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]):
    code, out, _ = said(capsys, "config", "schema")
    assert code == 0 and "cameras" in json.loads(out)["properties"]


def test_options_reach_the_cameras_of_a_site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "site.yaml").write_text(
        "cameras:\n  hall: {url: hall.mp4}\n  yard: {url: yard.mp4}\n"
    )
    (tmp_path / "here.json").write_text(json.dumps({"homography": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}))
    options = "--offset yard=2.5 --calibration hall=here.json --detections hall=det.txt --recorded-score 1"
    arguments = run_tracker.parser().parse_args(
        ["process", "sites/site.yaml", "-o", "out", *options.split(), "--set", "link.false_merge_rate=0.5"]
    )
    site = run_tracker._site(arguments)
    assert site.cameras["yard"].start == 2.5 and site.cameras["hall"].start is None
    assert site.cameras["hall"].calibration is not None
    assert site.cameras["hall"].detections == str(tmp_path / "det.txt")
    assert Path(site.cameras["hall"].url) == Path("sites/hall.mp4")
    assert {camera.recorded_score for camera in site.cameras.values()} == {1.0}
    assert site.link.false_merge_rate == 0.5


def test_evaluate_prints_and_gives_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for camera_id, x in (("a", 0), ("b", 100)):
        for folder in ("truth", "out/tracks", "out/tracks_as_published"):
            person = 5 if folder == "out/tracks_as_published" and camera_id == "b" else 1
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / f"{camera_id}.txt").write_text(
                "".join(f"{frame},{person},{x},0,10,20,1\n" for frame in range(1, 11))
            )
    base = ("evaluate", "--truth", str(tmp_path / "truth"), "--tracks", str(tmp_path / "out" / "tracks"))
    code, out, _ = said(capsys, *base, "--across-only")
    assert code == 0 and "IDF1 100.0 %" in out and "(1 of 1)" in out
    code, out, _ = said(capsys, *base, "--across-only", "--ids", "provisional", "--json")
    told = json.loads(out)
    assert told["schema_version"] == 1
    assert told["across"]["idf1"] == 0.5  # the other camera's ten boxes carry another id
    assert told["across"]["pair_precision"] is None  # nothing was joined


def test_models_are_listed_and_verified(capsys: pytest.CaptureFixture[str]):
    code, out, _ = said(capsys, "models", "list", "--json")
    told = json.loads(out)
    assert code == 0 and told["schema_version"] == 1
    known = {model["name"]: model for model in told["models"]}
    assert known["yolox_nano"]["state"] == "to fetch" and known["yolox_nano"]["path"] is None
    assert known["nanodet_g_person"]["state"] == "shipped"
    code, out, _ = said(capsys, "models", "list")
    assert code == 0
    terms = next(line for line in out.splitlines() if line.startswith("research, "))
    assert "for research use only" in terms
    code, out, _ = said(capsys, "models", "verify", "nanodet_g_person")
    assert (code, out) == (0, "nanodet_g_person: ok\n")
    code, out, _ = said(capsys, "models", "verify", "yolox_nano")
    assert code == 1 and "models fetch yolox_nano" in out
    code, out, _ = said(capsys, "models", "show", "yolox_nano")
    assert code == 0 and "Apache-2.0" in out


def test_doctor_says_what_works_and_what_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = said(capsys, "doctor", "-o", str(tmp_path))
    assert code == 0 and "CPUExecutionProvider starts" in out and "GiB free" in out
    code, out, _ = said(capsys, "doctor", str(tmp_path / "nothing.mp4"), "-o", str(tmp_path))
    assert code == 1 and "nothing.mp4" in out and "wrong" in out


def test_doctor_opens_a_demo_clip(capsys: pytest.CaptureFixture[str]):
    code, out, _ = said(capsys, "doctor", str(ROOT / "tracker" / "demo" / "court.mp4"))
    assert code == 0 and "640x360" in out


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_tracker, "list_models", interrupted)
    code, out, error = said(capsys, "models", "list")
    assert (code, out, error) == (130, "", "")


@pytest.mark.parametrize(
    ("number", "sentence"), [(28, "the disk is full"), (13, "check the permissions"), (2, "check the path")]
)
def test_what_the_system_refuses_is_one_sentence(
    number: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refused(_: object) -> int:
        raise OSError(number, "refused", "/somewhere/file")

    monkeypatch.setattr(run_tracker, "list_models", refused)
    code, _, error = said(capsys, "models", "list")
    assert code == 2 and error.startswith("throughline: /somewhere/file: ") and sentence in error


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def broken(_: object) -> int:
        raise OSError(5, "input/output error")

    monkeypatch.setattr(run_tracker, "list_models", broken)
    with pytest.raises(OSError, match="input/output"):
        main(["models", "list"])


def test_a_reader_that_has_seen_enough_is_no_error():
    done = subprocess.run(
        f"{sys.executable} run_tracker.py config schema | head -n 1",
        cwd=ROOT,
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "{\n" and done.stderr == ""


def test_recorded_boxes_are_processed_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Two people cross one view each; nothing but boxes is needed, and every result is there."""
    for camera_id, x in (("a", 50.0), ("b", 300.0)):
        frames = np.arange(1, 41)
        left = x + 3.0 * frames
        boxes = np.stack([left, np.full(40, 100.0), left + 40, np.full(40, 220.0)], 1)
        truth = "".join(f"{f},1,{box[0]:g},100,40,120,1\n" for f, box in zip(frames, boxes, strict=True))
        (tmp_path / "truth").mkdir(exist_ok=True)
        (tmp_path / "truth" / f"{camera_id}.txt").write_text(truth)
        np.savez(
            tmp_path / f"{camera_id}.npz",
            frame=frames.astype(np.int32),
            box=boxes.astype(np.float32),
            score=np.full(40, 7.0, np.float32),
            width=640,
            height=480,
            fps=10.0,
            length=40,
        )
    out = tmp_path / "out"
    command = ["process", *(f"{c}={tmp_path / c}.npz" for c in "ab"), "-o", str(out)]
    code, _, error = said(capsys, *command)
    assert code == 2 and "--recorded-score" in error and error.count("\n") == 1
    code, text, error = said(capsys, *command, "--recorded-score", "1.0")
    assert code == 0 and error == ""
    assert "a 40, b 40" in text and "starts: together" in text
    for name in ("tracks/a.txt", "tracks_as_published/b.txt", "events.jsonl", "identities.json", "run.json"):
        assert (out / name).is_file()
    first = {path: path.read_bytes() for path in [*(out / "tracks").iterdir(), out / "events.jsonl"]}
    assert said(capsys, *command, "--recorded-score", "1.0")[0] == 0
    assert {path: path.read_bytes() for path in first} == first  # the same bytes again
    base = ("evaluate", "--truth", str(tmp_path / "truth"), "--tracks", str(out), "--across-only", "--json")
    told = json.loads(said(capsys, *base)[1])
    assert told["across"]["detection_recall"] > 0.9


# --- site models


def site_model(path: Path) -> Path:
    """Fifty people from the hall's right border to the yard's left one in 12 s; a few elsewhere."""
    n = 50
    t_ns = np.arange(n, dtype=np.int64) * 30_000_000_000
    left = Crossings(
        camera=np.full(n, "hall"), xy=np.full((n, 2), (0.95, 0.6)), t_ns=t_ns, weight=np.full(n, 0.2)
    )
    came = Crossings(
        camera=np.full(n, "yard"),
        xy=np.full((n, 2), (0.05, 0.6)),
        t_ns=t_ns + 12_000_000_000,
        weight=np.full(n, 0.2),
    )
    passed = Passages(
        from_camera=left.camera,
        from_xy=left.xy,
        t_out_ns=left.t_ns,
        to_camera=came.camera,
        to_xy=came.xy,
        t_in_ns=came.t_ns,
        weight=np.full(n, 0.8),
    )
    save_site(path, SiteModel().learn(passed, came, left, now_ns=int(t_ns[-1])))
    return path


def test_a_site_is_shown_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = site_model(tmp_path / "site.json")
    code, out, error = said(capsys, "site", "show", str(file), "--plot", str(tmp_path / "ways.png"))
    assert (code, error) == (0, "")
    (way,) = (line for line in out.splitlines() if line.startswith("hall (right border)  yard"))
    assert "yard (left border)" in way and way.endswith("81 %")  # 40 of those since the yard is known
    assert "40.0" in way and "12." in way
    assert any(line.startswith("yard (left border)") and line.endswith("0 %") for line in out.splitlines())
    picture = cv2.imread(str(tmp_path / "ways.png"))
    assert picture is not None and picture.shape[1] > picture.shape[0]  # two views beside each other
    assert (picture.std(axis=2) > 20).sum() > 200  # the way between them is in colour


def test_an_empty_site_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    save_site(tmp_path / "site.json", SiteModel())
    code, out, _ = said(
        capsys, "site", "show", str(tmp_path / "site.json"), "--plot", str(tmp_path / "a.png")
    )
    assert code == 0 and "nothing learned yet" in out and (tmp_path / "a.png").exists()


@pytest.mark.parametrize(("answer", "kept"), [("y", False), ("YES", False), ("", True), ("n", True)])
def test_a_site_is_reset_after_asking(
    answer: str,
    kept: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    file = site_model(tmp_path / "site.json")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    code, _, _ = said(capsys, "site", "reset", str(file))
    assert file.exists() == kept and code == (1 if kept else 0)


def test_a_site_is_reset_unasked_only_with_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = site_model(tmp_path / "site.json")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, _, error = said(capsys, "site", "reset", str(file))
    assert code == 2 and "--yes" in error and file.exists()
    assert said(capsys, "site", "reset", str(file), "--yes")[0] == 0 and not file.exists()


def test_keys_are_given_listed_and_taken_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    keys = str(tmp_path / "keys")
    code, out, _ = said(capsys, "keys", "new", "gate", "--role", "worker", "--keys", keys)
    assert code == 0 and out.startswith(f"made {keys}/gate: move this folder")
    code, out, _ = said(capsys, "keys", "list", "--keys", keys)
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["name", "role", "may", "public", "key"]
    assert [row[:2] for row in rows[1:]] == [["client", "-"], ["gate", "worker"]]
    assert rows[2][2:-1] == ["boxes", "ingest"]
    assert said(capsys, "keys", "revoke", "gate", "--keys", keys)[:2] == (0, "gate is shut out\n")
    code, _, err = said(capsys, "keys", "revoke", "gate", "--keys", keys)
    assert code == 2 and "gate: has no key in" in err and "there is client" in err


def test_a_cursor_that_is_none_is_said_before_anything_is_heard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "notes").write_text("buy milk\n")
    code, _, err = said(capsys, "subscribe", "--cursor", str(tmp_path / "notes"), "--timeout", "0.1")
    assert code == 2 and "notes: is no cursor" in err


def test_insecure_is_a_setting_said_on_the_command_line():
    given = run_tracker.parser().parse_args(
        ["linker", "site.yaml", "--insecure", "--set", "bus.peer_rate=50"]
    )
    assert run_tracker._overrides(given) == ["bus.peer_rate=50", "bus.insecure=true"]


def test_who_is_unsure_is_counted_apart(tmp_path):
    def first_line(unsure: int) -> list[str]:
        summary = Summary(tmp_path, {"a": 9}, 5, unsure, 12, 1.0, "together", {"link": 1.0})
        return run_tracker.summary_text(summary).splitlines()[0].split()

    assert first_line(0) == ["identities", "5,", "in", "12", "events"]
    assert first_line(2) == ["identities", "5", "and", "2", "unsure,", "in", "12", "events"]
