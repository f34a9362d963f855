"""The command line of flow: help without torch, tables, pictures, and what a mistake is answered with."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from flow import pairs
from flow.__main__ import MISTAKE, OK, VERBS, main, parser
from flow.packs import Pack

ROOT = Path(__file__).resolve().parent.parent
HEIGHT, WIDTH, STEP = 72, 96, 4  # of the pictures here; everything goes STEP px to the right


@pytest.fixture(autouse=True)
def few_textures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing 64 surfaces takes a second, four do here."""
    monkeypatch.setattr(pairs, "Drawer", partial(pairs.Drawer, textures=4))


def one_sentence(text: str) -> str:
    (line,) = text.splitlines()
    assert "Traceback" not in line
    return line


def pictures(folder: Path) -> list[str]:
    """A texture, seen twice by a camera that turned by ``STEP`` px."""
    coarse = np.random.default_rng(0).uniform(0, 255, (HEIGHT // 6, WIDTH // 4, 3)).astype(np.uint8)
    wide = cv2.resize(coarse, (WIDTH + STEP, HEIGHT), interpolation=cv2.INTER_CUBIC)
    paths = [str(folder / f"01_{number}.png") for number in (1, 2)]
    cv2.imwrite(paths[0], wide[:, STEP:])
    cv2.imwrite(paths[1], wide[:, :WIDTH])
    return paths


def chairs(folder: Path) -> str:
    """The same, with its flow, as ``--data`` finds it."""
    pictures(folder)
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float16)
    flow[..., 0] = STEP
    np.savez(folder / "01_flow.npz", flow=flow)
    return str(folder)


def drawn_pack(folder: Path, count: int = 2) -> str:
    arguments = [
        "pairs",
        "-o",
        str(folder),
        "--pairs",
        str(count),
        "--size",
        f"{WIDTH}x{HEIGHT}",
        "--seed",
        "3",
    ]
    assert main(arguments) == OK
    return str(folder)


# --- help


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Where torch and onnx are not installed."""
    blocked = "import sys\nsys.modules['torch'] = sys.modules['onnx'] = None\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_verb_has_help_and_looking_works_without_torch(tmp_path: Path):
    first, second = pictures(tmp_path)
    code = f"""
from flow import pairs
from flow.__main__ import VERBS, main
for verb in VERBS:
    try:
        main([verb, '--help'])
    except SystemExit as end:
        assert end.code == 0, verb
assert main(['show', {first!r}, {second!r}, '--model', 'dis', '--out', {str(tmp_path / "flow.png")!r}]) == 0
assert main(['evaluate', 'dis', '--data', {chairs(tmp_path)!r}, '--speed']) == 0
assert main(['train', '--out', 'nowhere']) == 2
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"usage: python -m flow {verb}" in done.stdout
    assert "flow train: this needs torch: pip install 'throughline[train]'" in done.stderr


def test_pages_show_commands_that_can_be_typed(capsys: pytest.CaptureFixture[str]):
    wrong, seen = [], set()
    for page in [
        ROOT / "README.md",
        ROOT / "benchmarks" / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]:
        text = page.read_text("utf-8")
        for words in re.findall(
            r"^ *(?:\$ )?python -m flow ([a-z].*)$|`python -m flow ([a-z][^`\n]*)`", text, re.M
        ):
            arguments = shlex.split(words[0] or words[1], comments=True)
            if not words[0] and len(arguments) == 1:  # a verb named in prose
                assert arguments[0] in VERBS, page.name
                continue
            seen.add(arguments[0])
            try:
                parser().parse_args(arguments)
            except SystemExit:
                wrong.append((page.name, arguments, capsys.readouterr().err.splitlines()[-1]))
    assert wrong == []
    assert seen == set(VERBS)


# --- evaluate


def test_a_table_for_each_set_and_a_row_for_each_estimator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["evaluate", "dis", "--data", chairs(tmp_path), "--speed", "64x64", "--rounds", "1"]
    assert main(arguments) == OK
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"chairs, {WIDTH}x{HEIGHT}, gap 1, 1 pair: end-point error in px"
    assert told[1].split() == ["all", "Fl", "%"]  # what chairs do not say has no column
    rows = {line.split()[0]: line.split()[1:] for line in told[2:14]}
    assert rows["none"] == [f"{STEP:.2f}", "100.00"]  # nothing moved: all are off by the step, more than 3 px
    assert list(rows) == [
        "none",
        *(
            f"dis-{preset}{size}"
            for size in ("-half", "")
            for preset in ("ultrafast", "fast", "medium", "quick", "fine")
        ),
        "dis",
    ]
    assert float(rows["dis"][0]) < STEP / 2
    assert "64x64, 1 thr.  64x64, 2 thr." in told[16]


def test_numbers_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pack = drawn_pack(tmp_path / "pack")
    capsys.readouterr()
    last = ["--no-references", "--speed", "--json", "--trust"]
    assert (
        main(["evaluate", "none", "dis", "--packs", pack, "--synthetic", "1", "--size", "64x64", *last]) == OK
    )
    told = json.loads(capsys.readouterr().out)
    assert [(row["set"], row["estimator"], row["pairs"]) for row in told["errors"]] == [
        ("pack", "none", 2),
        ("pack", "dis", 2),
        ("drawn, seed 1", "none", 1),
        ("drawn, seed 1", "dis", 1),
    ]
    truth = np.stack([pair.flow for pair in Pack(pack)])
    assert told["errors"][0]["epe_all"] == pytest.approx(
        np.hypot(truth[..., 0], truth[..., 1]).mean(), rel=1e-3
    )
    assert told["errors"][0]["trusted_percent"] == 0 and told["milliseconds"] == []


def test_the_same_seed_gives_the_same_pairs(tmp_path: Path):
    one, other = (Pack(drawn_pack(tmp_path / name)) for name in ("a", "b"))
    assert len(one) == len(other) == 2
    for pair, again in zip(one, other, strict=True):
        assert (pair.before == again.before).all() and (pair.flow == again.flow).all()
    assert one.info["seed"] == 3 and one[0].flow.shape == (HEIGHT, WIDTH, 2)


# --- show


@pytest.mark.parametrize("kind", ["colours", "arrows", "trust"])
def test_a_picture_of_the_flow_has_the_size_of_the_pictures(tmp_path: Path, kind: str):
    out = tmp_path / "flow.png"
    assert main(["show", *pictures(tmp_path), "--kind", kind, "--model", "dis", "--out", str(out)]) == OK
    assert cv2.imread(str(out)).shape == (HEIGHT, WIDTH, 3)


def test_a_sheet_shows_the_truth_where_there_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    chairs(tmp_path)
    both, out = pictures(tmp_path), tmp_path / "flow.png"
    heights = []
    for more in ([], ["--truth", str(tmp_path / "01_flow.npz")]):
        assert main(["show", *both, "--out", str(out), "--model", "dis", *more]) == OK
        heights.append(cv2.imread(str(out)).shape[0])
    assert heights[1] > heights[0] > 3 * HEIGHT
    assert capsys.readouterr().out.splitlines() == [str(out)] * 2


def test_a_pair_of_a_pack_and_of_a_video_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pack, out = drawn_pack(tmp_path / "pack"), str(tmp_path / "flow.jpg")
    assert main(["show", pack, "--pair", "1", "--out", out, "--model", "dis"]) == OK
    video = str(tmp_path / "video.avi")
    writer = cv2.VideoWriter(video, cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for picture in map(cv2.imread, pictures(tmp_path)):
        writer.write(picture)
    writer.release()
    assert main(["show", video, "--out", out, "--model", "dis"]) == OK
    capsys.readouterr()
    assert main(["show", video, "--gap", "5", "--out", out]) == MISTAKE
    assert "has no 6 pictures from 0 s on" in one_sentence(capsys.readouterr().err)
    assert main(["show", pack, "--pair", "2", "--out", out]) == MISTAKE
    assert "there is no pair 2, only 2 pairs" in one_sentence(capsys.readouterr().err)


def test_a_sheet_of_drawn_pairs(tmp_path: Path):
    sheet = tmp_path / "sheet.png"
    arguments = ["--pairs", "2", "--size", f"{WIDTH}x{HEIGHT}", "--sheet", str(sheet)]
    assert main(["pairs", "-o", str(tmp_path / "pack"), *arguments]) == OK
    assert cv2.imread(str(sheet)).shape[1] > 3 * WIDTH


# --- mistakes


def test_mistakes_are_told_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first, second = pictures(tmp_path)
    small = str(tmp_path / "small.png")
    cv2.imwrite(small, np.zeros((20, 30, 3), np.uint8))
    np.save(tmp_path / "flow.npy", np.zeros((20, 30, 2)))
    out = ["--out", str(tmp_path / "flow.png")]
    mistakes = {
        ("show", first, small, *out): f"{WIDTH}x{HEIGHT} and 30x20",
        ("show", first, second, first, *out): "not 3 files",
        ("show", first, "gone.png", *out): "no such picture: gone.png",
        ("show", "gone.mp4", *out): "no such file: gone.mp4",
        ("show", str(tmp_path), *out): "no pack of pairs",
        ("show", first, second, "--truth", str(tmp_path / "flow.npy"), *out): "flow.npy is of 30x20",
        ("show", first, second, "--out", "flow.txt"): "ends in .png",
        ("show", first, second, "--out", "gone/flow.png"): "there is no folder gone",
        ("show", first, second, "--model", "raft", *out): "raft",
        (
            "show",
            first,
            second,
            "--model",
            "dis-fast",
            "--kind",
            "trust",
            *out,
        ): "does not say how far it trusts",
        ("evaluate", "raft", "--data", chairs(tmp_path)): "raft",
        ("evaluate", "none", "--data", str(tmp_path / "gone")): "there is no NN_flow.npz",
        ("evaluate", "none", "--packs", str(tmp_path)): "no pack of pairs",
        ("pairs", "-o", str(tmp_path / "pack"), "--sheet", "sheet.txt"): "ends in .png",
    }
    for arguments, said in mistakes.items():
        assert main(arguments) == MISTAKE, arguments
        assert said in one_sentence(capsys.readouterr().err), arguments
    assert not (tmp_path / "flow.png").exists() and not (tmp_path / "pack").exists()


@pytest.mark.parametrize("size", ["512", "512x", "x384", "12x384", "512x384x3"])
def test_a_size_is_width_and_height(size: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["pairs", "-o", "nowhere", "--size", size])
    assert end.value.code == MISTAKE and "such as 512x384" in capsys.readouterr().err
