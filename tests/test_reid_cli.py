"""The command line of the toolkit: every verb's help without torch, answers, exit statuses, and bad input."""

from __future__ import annotations

import json
import re
import shlex
import struct
import subprocess
import sys
import tomllib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.__main__ import INTERRUPTED, MISTAKE, NO, OK, TEST_NAMES, UNSURE, VERBS, main, parser
from reid.calibrate import PairCalibration
from reid.pictures import HEIGHT, WIDTH

onnx = pytest.importorskip("onnx")

ROOT = Path(__file__).resolve().parent.parent
BLUE, GREEN = (200, 0, 0), (0, 200, 0)
NEAR_BLUE = (160, 120, 0)  # 0.8, 0.6, 0: at 0.2 from blue, at 0.4 from green
# P falls from 1 at distance 0 to 0 at 1; 1 pair of two persons in 100 is within 0.3, 1 in 1000 within 0.1.
PAIRS = """
[details.pair_calibration]
distance = [0.0, 1.0]
probability = [1.0, 0.0]
ece = 0.01
people = 100
thresholds = { "0.01" = 0.3, "0.001" = 0.1, "0.0001" = 0.05 }
"""


def mean_colour_model(path: Path, *, card: str | None = PAIRS) -> Path:
    """An embedder that anybody can check by hand: the mean colour of the crop, as a unit row (B, G, R)."""
    h = onnx.helper
    graph = h.make_graph(
        [
            h.make_node("Cast", ["crops"], ["f"], to=onnx.TensorProto.FLOAT),
            h.make_node("ReduceMean", ["f"], ["m"], axes=[1, 2], keepdims=0),
            h.make_node("LpNormalization", ["m"], ["embeddings"], axis=1, p=2),
        ],
        "mean_colour",
        [h.make_tensor_value_info("crops", onnx.TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3])],
        [h.make_tensor_value_info("embeddings", onnx.TensorProto.FLOAT, ["N", 3])],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], producer_name=path.stem)
    model.ir_version = 8
    onnx.save(model, str(path))
    if card is not None:
        path.with_suffix(".toml").write_text(f'kind = "embedder"\n{card}', encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(mean_colour_model(tmp_path_factory.mktemp("model") / "colour.onnx"))


def crop(path: Path, colour: tuple[int, int, int], *, height: int = 40, width: int = 20) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), colour, np.uint8))
    return str(path)


def labelled(folder: Path, people: Sequence[str] = ("ann", "bob")) -> str:
    """Each person in two cameras, of one colour in stripes of their own: a network that has learned nothing yet may
    see no colours, and which of equals is nearer is a matter of rounding."""
    for number, person in enumerate(people):
        for camera in ("hall", "yard"):
            path = crop(folder / person / f"{camera}_1.png", (200, 90 * number, 10))
            picture = cv2.imread(path)
            picture[:: number + 2] //= 4
            picture[:, : 10 * number] //= 2
            assert cv2.imwrite(path, picture)
    return str(folder)


def one_sentence(text: str) -> str:
    (line,) = text.splitlines()
    assert "Traceback" not in line
    return line


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


def test_every_verb_has_help_without_torch():
    code = """
from reid.__main__ import VERBS, main, parser
for verb in VERBS:
    try:
        main([verb, '--help'])
    except SystemExit as end:
        assert end.code == 0, verb
assert not {'cv2', 'onnxruntime', 'numpy'} & set(sys.modules), 'help loads what it does not need'
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    for verb, one in VERBS.items():
        assert f"usage: python -m reid {verb}" in done.stdout
        assert one.summary in done.stdout.lower() or one.summary[1:] in done.stdout
    assert "unsure: too near for a no" in done.stdout


def test_the_verbs_are_those_that_are_promised():
    promised = ["train", "evaluate", "compare", "calibrate", "export", "enrol", "verify", "search"]
    assert sorted(VERBS) == sorted(promised)


def test_pages_show_commands_that_can_be_typed(capsys: pytest.CaptureFixture[str]):
    wrong, seen = [], set()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for words in re.findall(
            r"^ *(?:\$ )?python -m reid ([a-z].*)$", page.read_text("utf-8"), re.MULTILINE
        ):
            arguments = shlex.split(words, comments=True)
            seen.add(arguments[0])
            try:
                parser().parse_args(arguments)
            except SystemExit:
                wrong.append((page.name, arguments, capsys.readouterr().err.splitlines()[-1]))
    assert wrong == []
    assert seen == set(VERBS)


def test_help_names_the_tests_there_are():
    from reid.evaluate import TESTS

    assert TEST_NAMES.startswith(", ".join(TESTS))


def test_the_precisions_are_those_that_exports_are_held_to(capsys: pytest.CaptureFixture[str]):
    from reid.parity import LIMITS

    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert f"--precision {{{','.join(LIMITS)}}}" in capsys.readouterr().out


def test_asking_needs_no_torch(tmp_path: Path, model: str):
    blue, people = crop(tmp_path / "blue.png", BLUE), str(tmp_path / "people.npz")
    labelled(tmp_path / "set")
    code = f"""
from reid.__main__ import main
last = ['--model', {model!r}]
assert main(['enrol', 'Ann', {blue!r}, '--people', {people!r}, *last]) == 0
assert main(['verify', {blue!r}, '--people', {people!r}, *last]) == 0
assert main(['verify', {blue!r}, {blue!r}, *last]) == 0
assert main(['search', {blue!r}, {str(tmp_path / "set")!r}, *last]) in (0, 1, 3)
assert main(['evaluate', '--tests', {str(tmp_path / "set")!r}, *last]) == 0
assert main(['train', '--data', '.', '--out', 'nowhere']) == 2
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert "reid train: this needs torch: pip install 'throughline[train]'" in done.stderr


# --- verify


@pytest.mark.parametrize(
    ("rate", "answer", "status", "accepted_to"),
    [("0.01", "yes", OK, 0.3), ("0.001", "unsure", UNSURE, 0.1)],
)
def test_two_crops_are_one_person_or_not_at_the_wanted_rate(
    tmp_path: Path,
    model: str,
    capsys: pytest.CaptureFixture[str],
    rate: str,
    answer: str,
    status: int,
    accepted_to: float,
):
    pair = [crop(tmp_path / "a.png", BLUE), crop(tmp_path / "b.png", NEAR_BLUE)]
    assert main(["verify", *pair, "--rate", rate, "--model", model, "--json"]) == status
    said = json.loads(capsys.readouterr().out)
    assert said["distance"] == pytest.approx(0.2, abs=1e-6)
    assert said["probability"] == pytest.approx(0.8, abs=1e-6)
    assert (said["answer"], said["accepted_to"], said["model"]) == (answer, accepted_to, "colour")


def test_two_who_look_different_are_two(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]):
    pair = [crop(tmp_path / "a.png", BLUE), crop(tmp_path / "b.png", GREEN)]
    assert main(["verify", *pair, "--model", model]) == NO
    assert capsys.readouterr().out.splitlines() == [
        "distance     1.0000",
        "probability  0.0000",
        "answer       no: yes up to 0.1000, at 0.001 false yeses among pairs of two persons",
    ]


def test_without_a_calibration_there_is_a_distance_and_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bare = str(mean_colour_model(tmp_path / "bare.onnx", card=None))
    pair = [crop(tmp_path / "a.png", BLUE), crop(tmp_path / "b.png", NEAR_BLUE)]
    assert main(["verify", *pair, "--model", bare]) == UNSURE
    told = capsys.readouterr()
    assert told.out.splitlines() == ["distance  0.2000"]
    assert "the card of bare has no calibration for pairs, so a distance is no answer" in told.err
    assert main(["search", pair[0], str(tmp_path), "--model", bare]) == UNSURE
    assert "1.  " in capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 3])
def test_a_pair_is_two(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], count: int):
    crops = [crop(tmp_path / f"{k}.png", BLUE) for k in range(count)]
    assert main(["verify", *crops, "--model", model]) == MISTAKE
    assert f"not {count} crops" in one_sentence(capsys.readouterr().err)


def test_a_picture_that_is_wide_is_remarked_on(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    frame, one = crop(tmp_path / "frame.png", BLUE, height=48, width=64), crop(tmp_path / "a.png", BLUE)
    assert main(["verify", frame, one, "--model", model]) == OK
    assert "frame.png is 64 x 48 pixels: a crop of one person is expected" in one_sentence(
        capsys.readouterr().err
    )


# --- enrol


def test_somebody_enrolled_is_known_and_a_stranger_is_nobody(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    people, last = str(tmp_path / "people.npz"), ["--model", model]
    blue, green = crop(tmp_path / "blue.png", BLUE), crop(tmp_path / "green.png", GREEN)
    red, near = crop(tmp_path / "red.png", (0, 0, 200)), crop(tmp_path / "near.png", NEAR_BLUE)
    assert main(["enrol", "Ann", blue, "--people", people, *last]) == OK
    assert main(["enrol", "Bob", green, "--people", people, *last]) == OK
    assert main(["enrol", "--list", "--people", people, "--json"]) == OK
    assert json.loads(capsys.readouterr().out.rpartition("\n{")[2].join(["{", ""]))["people"] == {
        "Ann": 1,
        "Bob": 1,
    }
    ask = ["--people", people, "--json", *last]
    assert main(["verify", blue, *ask]) == OK
    first, second = json.loads(capsys.readouterr().out)["ranked"]
    assert (first["person"], first["answer"], second["person"], second["answer"]) == (
        "Ann",
        "yes",
        "Bob",
        "no",
    )
    assert main(["verify", red, *ask]) == NO  # at 1 from both
    assert json.loads(capsys.readouterr().out)["answer"] == "no"
    assert main(["verify", red, *ask[:2], *last]) == NO
    assert "nobody above the threshold: yes up to 0.1000" in capsys.readouterr().out
    assert main(["verify", near, *ask[:2], *last]) == UNSURE  # at 0.2 from Ann
    assert "nobody above the threshold; the first is unsure" in capsys.readouterr().out
    assert main(["enrol", "--forget", "Ann", "--people", people]) == OK
    assert capsys.readouterr().out.splitlines() == ["person  rows", "Bob     1"]
    assert main(["verify", blue, *ask]) == NO
    assert [one["person"] for one in json.loads(capsys.readouterr().out)["ranked"]] == ["Bob"]
    assert main(["enrol", "--forget", "Bob", "--people", people]) == OK
    assert capsys.readouterr().out == "nobody is enrolled\n"
    assert main(["verify", blue, *ask[:2], *last]) == NO
    assert capsys.readouterr().out == "nobody is enrolled\n"


def test_people_of_another_model_are_refused(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]):
    other = str(mean_colour_model(tmp_path / "other.onnx"))
    blue, people = crop(tmp_path / "blue.png", BLUE), str(tmp_path / "people.npz")
    assert main(["enrol", "Ann", blue, "--people", people, "--model", model]) == OK
    before = Path(people).read_bytes()
    capsys.readouterr()
    for asked in (["verify", blue], ["enrol", "Bob", blue]):
        assert main([*asked, "--people", people, "--model", other]) == MISTAKE
        assert "enrolled with the model colour" in one_sentence(capsys.readouterr().err)
    assert Path(people).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give a name and crops, or --forget NAME, or --list"),
        (["Ann"], "give crops of Ann"),
        (["--list", "--forget", "Ann"], "give a name and crops, or --forget NAME, or --list"),
        (["--list"], "people.npz: No such file or directory"),
        (["--forget", "Ann"], "people.npz: No such file or directory"),
        (["Ann", "no.png"], "no such picture: no.png"),
    ],
)
def test_enrol_says_what_it_lacks(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
):
    people = tmp_path / "people.npz"
    assert main(["enrol", *arguments, "--people", str(people), "--model", model]) == MISTAKE
    assert reason in one_sentence(capsys.readouterr().err)
    assert not people.exists()


# --- search


def test_a_search_ranks_draws_and_counts(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]):
    query = crop(tmp_path / "query.png", BLUE)
    same, near = (
        crop(tmp_path / "all" / "a" / "same.png", BLUE),
        crop(tmp_path / "all" / "near.png", NEAR_BLUE),
    )
    crop(tmp_path / "all" / "b" / "green.png", GREEN)
    (tmp_path / "all" / "torn.jpg").write_bytes(b"\xff\xd8")
    sheet = tmp_path / "sheet.png"
    folder = str(tmp_path / "all")
    assert main(["search", query, folder, "--top", "2", "--sheet", str(sheet), "--model", model]) == OK
    told = capsys.readouterr()
    assert [line.split() for line in told.out.splitlines()] == [
        ["picture", "distance", "probability", "answer"],
        ["1.", same, "0.0000", "1.0000", "yes"],
        ["2.", near, "0.2000", "0.8000", "unsure"],
    ]
    assert "torn.jpg is cut off" in told.err
    assert "1 files were skipped, 3 pictures compared" in told.err
    drawn = cv2.imread(str(sheet))
    assert drawn is not None and (drawn == BLUE).all(axis=2).any() and (drawn == NEAR_BLUE).all(axis=2).any()


def test_a_query_without_a_match_is_told(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]):
    query = crop(tmp_path / "query.png", BLUE)
    crop(tmp_path / "all" / "green.png", GREEN)
    assert main(["search", query, str(tmp_path / "all"), "--model", model]) == NO
    assert "nobody above the threshold: yes up to 0.1000, at 0.001 false yeses" in capsys.readouterr().out
    assert main(["search", query, str(tmp_path / "all"), "--model", model, "--json"]) == NO
    assert json.loads(capsys.readouterr().out)["answer"] == "no"


def test_a_sheet_that_cannot_be_written_is_told_before_the_search(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    query = crop(tmp_path / "query.png", BLUE)
    for sheet, reason in (
        ("sheet.pdf", "name a picture that ends in"),
        ("no/sheet.png", "there is no folder"),
    ):
        assert (
            main(["search", query, str(tmp_path), "--sheet", str(tmp_path / sheet), "--model", model])
            == MISTAKE
        )
        assert reason in one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("content", [b"", b"P6\n0 5\n255\n", b"not a picture"])
def test_a_crop_of_zero_area_or_no_picture_is_refused(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], content: bytes
):
    bad, good = tmp_path / "bad.ppm", crop(tmp_path / "good.png", BLUE)
    bad.write_bytes(content)
    people = str(tmp_path / "people.npz")
    for asked in (
        ["verify", str(bad), good],
        ["search", str(bad), str(tmp_path)],
        ["enrol", "Ann", good, str(bad), "--people", people],
    ):
        assert main([*asked, "--model", model]) == MISTAKE
        assert "bad.ppm is not a picture" in one_sentence(capsys.readouterr().err)
    assert not Path(people).exists()


def test_a_small_file_of_too_many_pixels_is_refused(tmp_path: Path, model: str):
    """100 megapixels of one bit each, in 12 kB; decoded they are 300 MB."""
    side = 10_000
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(side * (1 + side // 8)))),
        (b"IEND", b""),
    ]
    bad = tmp_path / "bad.png"
    bad.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    code = "import sys\nfrom reid.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    done = python(code, "verify", str(bad), crop(tmp_path / "good.png", BLUE), "--model", model)
    assert done.returncode == MISTAKE
    assert "bad.png is not a picture, or one of too many pixels" in one_sentence(done.stderr)


def test_pixels_that_are_no_numbers_are_refused(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    picture = np.full((6, 3, 3), 0.5, np.float32)
    picture[2, 1] = np.nan
    bad = tmp_path / "bad.tiff"
    assert cv2.imwrite(str(bad), picture)
    assert main(["verify", str(bad), crop(tmp_path / "good.png", BLUE), "--model", model]) == MISTAKE
    assert "bad.tiff is a picture of float32" in one_sentence(capsys.readouterr().err)


def test_a_folder_without_pictures_is_refused(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]):
    query = crop(tmp_path / "query.png", BLUE)
    (tmp_path / "all").mkdir()
    for folder, reason in (("all", "holds no picture"), ("nowhere", "is not a folder")):
        assert main(["search", query, str(tmp_path / folder), "--model", model]) == MISTAKE
        assert reason in one_sentence(capsys.readouterr().err)


# --- measuring


def test_scores_are_a_table_or_json(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]):
    folder = labelled(tmp_path / "set")
    assert main(["evaluate", "--tests", folder, "--model", model]) == OK
    title, heads, row = capsys.readouterr().out.splitlines()
    assert title == "colour, cosine distance; per cent"
    assert heads.split()[:5] == ["test", "rank1", "rank5", "rank10", "mAP"]
    assert row.split()[:5] == [folder, "100.00", "100.00", "100.00", "100.00"]
    assert main(["evaluate", "--tests", folder, "--model", model, "--json", "--distance", "euclidean"]) == OK
    said = json.loads(capsys.readouterr().out)
    (test,) = said["tests"]
    assert (said["model"], test["test"], test["rank1"], test["distance"]) == (
        "colour",
        folder,
        100.0,
        "euclidean",
    )


def test_models_are_compared_in_one_table(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]):
    folder, sheet = labelled(tmp_path / "set"), tmp_path / "curve.png"
    other = str(mean_colour_model(tmp_path / "other.onnx"))
    last = ["--tests", folder, "--device", "cpu"]
    assert main(["compare", model, other, *last, "--sheet", str(sheet)]) == OK
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()]
    assert rows == ["model", "---", "`colour`", "`other`"]
    assert cv2.imread(str(sheet)) is not None
    assert main(["compare", model, *last, "--json"]) == OK
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["model"], one["dim"], one["parameters"]) == ("colour", 3, 0)
    assert one["tests"][folder]["rank1"] == 100.0
    assert set(one["ms_per_crop"]) == {"1", "32"} and min(one["ms_per_crop"].values()) > 0.0


def test_a_folder_with_one_identity_is_refused(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    folder = labelled(tmp_path / "set", ["ann"])
    assert main(["evaluate", "--tests", folder, "--model", model]) == MISTAKE
    assert "1 " in (said := one_sentence(capsys.readouterr().err)) and folder in said
    assert main(["calibrate", "--set", folder, "--model", model]) == MISTAKE
    assert "1 " in one_sentence(capsys.readouterr().err)
    assert main(["compare", model, "--tests", folder]) == MISTAKE
    assert folder in capsys.readouterr().err.splitlines()[-1]


def test_a_calibration_can_be_pasted_into_a_card(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    rng = np.random.default_rng(0)
    for person, colour in enumerate(rng.integers(20, 200, (30, 3))):
        for camera in ("hall", "yard"):
            seen = colour + rng.integers(-20, 20, 3)
            crop(tmp_path / "set" / f"p{person:02}" / f"{camera}_1.png", tuple(map(int, seen)))
    folder = str(tmp_path / "set")
    assert main(["calibrate", "--set", folder, "--model", model, "--check", folder]) == OK
    said = tomllib.loads("[details]\n" + capsys.readouterr().out)["details"]
    assert said["calibration"]["slope"] < 0.0
    pairs = PairCalibration.from_card(said["pair_calibration"])
    # 30 people seen by each of two cameras: 30 x 29 pairs of two persons, of which a tenth, but no hundredth, is 30.
    assert pairs.people == 30 and list(pairs.thresholds) == [0.05, 0.1]
    assert main(["calibrate", "--set", folder, "--model", model, "--people", "20", "--json"]) == OK
    assert json.loads(capsys.readouterr().out)["people"] == 20
    assert main(["calibrate", "--set", folder, "--model", model, "--people", "31"]) == MISTAKE
    one_sentence(capsys.readouterr().err)
    assert main(["calibrate", "--model", model]) == MISTAKE
    assert "the set market1501_train needs the folder" in one_sentence(capsys.readouterr().err)


def test_a_calibration_is_of_people_whom_the_training_did_not_see(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A hundred people were drawn whatever the recipe had held out, nobody or others, and flattered the model."""
    rng = np.random.default_rng(0)
    source = tmp_path / "market1501" / "bounding_box_train.zip"
    source.parent.mkdir()
    with zipfile.ZipFile(source, "w") as archive:
        for person, colour in enumerate(rng.integers(20, 200, (30, 3)), 1):
            for camera in (1, 2):
                seen = np.full((16, 8, 3), colour + rng.integers(-20, 20, 3), np.uint8)
                archive.writestr(f"{person:04}_c{camera}s1_1_00.png", cv2.imencode(".png", seen)[1].tobytes())

    def made_with(hold_out: int) -> list[str]:
        card = f'{PAIRS}[details.recipe]\nnetwork = "lite"\nsets = ["market1501_train"]\nweights = [1.0]\n'
        file = mean_colour_model(
            tmp_path / f"m{hold_out}.onnx", card=f"{card}hold_out = [{hold_out}]\nseed = 7\n"
        )
        return ["calibrate", "--model", str(file), "--data", str(tmp_path), "--json"]

    assert main(made_with(12)) == OK
    by_card = json.loads(capsys.readouterr().out)
    assert by_card["people"] == 12
    assert main([*made_with(12), "--people", "12", "--seed", "7"]) == OK
    assert json.loads(capsys.readouterr().out) == by_card
    assert main([*made_with(12), "--seed", "8"]) == OK
    assert json.loads(capsys.readouterr().out)["offset"] != by_card["offset"]
    assert main(made_with(0)) == MISTAKE
    assert "m0 was trained on everybody in market1501_train" in one_sentence(capsys.readouterr().err)
    assert main([*made_with(0), "--people", "12"]) == OK


def test_a_named_test_needs_its_data(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "--tests", "pku-1-2", "--model", model]) == MISTAKE
    assert "the test pku-1-2 needs the folder of its pictures" in one_sentence(capsys.readouterr().err)
    assert main(["evaluate", "--tests", "pku-1-2", "--model", model, "--data", str(tmp_path)]) == MISTAKE
    assert "no data set at" in one_sentence(capsys.readouterr().err)


def test_a_model_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pair = [crop(tmp_path / "a.png", BLUE)] * 2
    assert main(["verify", *pair, "--model", "reserch"]) == MISTAKE
    assert "did you mean research?" in one_sentence(capsys.readouterr().err)


# --- making a model


def test_train_hands_the_recipe_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("torch")
    from reid import train
    from reid.recipe import RECIPES

    asked: list[object] = []

    def run(recipe: object, data: Path, out: Path, **more: object) -> Path:
        asked.extend([recipe, data, out, more])
        return out / "checkpoint.pt"

    monkeypatch.setattr(train, "run", run)
    words = [
        "--data",
        "d",
        "--out",
        "o",
        "--recipe",
        "market",
        "--seed",
        "3",
        "--stop-after-s",
        "60",
        "--threads",
        "1",
    ]
    assert main(["train", *words]) == OK
    assert capsys.readouterr().out.splitlines() == [str(Path("o") / "checkpoint.pt")]
    recipe, data, out, more = asked
    assert vars(recipe) == vars(RECIPES["market"]) | {"seed": 3}
    assert (data, out) == (Path("d"), Path("o"))
    assert more == {"device": "cpu", "cache": None, "save_every_s": 180.0, "stop_after_s": 60.0}


def test_train_says_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == MISTAKE
    assert "no data set at" in one_sentence(capsys.readouterr().err)
    assert (
        main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--people", "1"]) == MISTAKE
    )
    assert "a batch needs at least 2 people" in one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (["--device", "gpu"], "torch cannot use the device 'gpu'"),
        (["--device", "cuda:99"], "torch cannot use the device 'cuda:99'"),
        (["--sets", "cuhk", "--weights", "1", "--hold-out", "0"], "no such folder or zip of pictures: cuhk"),
    ],
)
def test_train_has_no_such_thing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wish: list[str], reason: str
):
    """Each ended in a traceback."""
    pytest.importorskip("torch")
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *wish]) == MISTAKE
    assert reason in one_sentence(capsys.readouterr().err)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch = pytest.importorskip("torch")
    from dataclasses import asdict

    from reid.model import build
    from reid.recipe import Recipe

    weights = build("osnet_x0_25").state_dict()
    said = asdict(Recipe(network="lite_small"))  # but the weights are OSNet's
    torch.save({"recipe": said, "network": weights, "average": weights}, tmp_path / "checkpoint.pt")
    (tmp_path / "text.pt").write_text("hello")
    last = ["--data", str(tmp_path), "--out", str(tmp_path / "out.onnx")]
    for file, reason in (
        ("checkpoint.pt", "does not hold the weights of lite_small"),
        ("text.pt", "cannot be read as a checkpoint"),
        ("nowhere.pt", "no checkpoint at"),
    ):
        assert main(["export", "--checkpoint", str(tmp_path / file), *last]) == MISTAKE
        assert reason in one_sentence(capsys.readouterr().err)
    assert not (tmp_path / "out.onnx").exists()


def test_from_pictures_to_a_model_with_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Train two steps, export, open by path: the card names the file's bytes, the recipe and what distances mean."""
    pytest.importorskip("torch")
    import models
    from reid import load_embedder

    rng = np.random.default_rng(0)
    source = tmp_path / "market1501" / "bounding_box_train.zip"
    source.parent.mkdir()
    with zipfile.ZipFile(source, "w") as archive:
        for person in range(1, 9):  # 8 people, in 2 cameras, 3 pictures each; 4 of them are held out
            shirt = rng.integers(0, 256, 3)
            for number in range(6):
                picture = rng.integers(0, 60, (64, 32, 3)) + shirt // 2
                data = cv2.imencode(".png", picture.astype(np.uint8))[1].tobytes()
                archive.writestr(f"{person:04}_c{1 + number % 2}s1_00000{number}_00.png", data)
    recipe = "--network lite_small --start chance --sets market1501_train --weights 1 --hold-out 4 --steps 2"
    size = "--height 64 --width 32 --people 4 --pictures 2 --dim 16"
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), *recipe.split(), *size.split()]
    assert main(["train", *words]) == OK
    out, folder = tmp_path / "mine.onnx", labelled(tmp_path / "set")
    checkpoint = str(tmp_path / "run" / "checkpoint.pt")
    words = ["--checkpoint", checkpoint, "--out", str(out), "--data", str(tmp_path), "--test", folder]
    assert main(["export", *words, "--licence", "mine"]) == OK
    embedder, card = load_embedder(str(out)), models.find(str(out)).card
    assert embedder.size == (64, 32) and embedder.dim == 16
    assert card is not None and card.name == "mine" and card.licence == "mine"
    assert card.details["recipe"]["steps"] == 2 and "--hold-out 4" in card.recipe
    assert card.score.startswith(f"{folder}: rank-1 ")
    said = capsys.readouterr().err
    # Two steps may teach nothing; then the card does not pretend, and says so.
    assert (embedder.pair_calibration is not None) != ("will not say what distances mean" in said)


def test_an_export_that_is_another_network_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("torch")
    from reid import export
    from reid.parity import ParityError, ParityReport
    from reid.recipe import Recipe

    source = tmp_path / "market1501" / "bounding_box_train.zip"
    source.parent.mkdir()
    with zipfile.ZipFile(source, "w") as archive:
        for number in range(3):
            data = cv2.imencode(".png", np.full((8, 4, 3), number, np.uint8))[1].tobytes()
            archive.writestr(f"{number:04}_c1s1_000001_00.png", data)
    folder = labelled(tmp_path / "set")
    asked: dict[str, object] = {}

    def write(checkpoint: Path, out: Path, **more: object) -> ParityReport:
        asked.update(more)
        raise ParityError(ParityReport("fp32", {1: 0.5}, 0.9, 0.0, 0.0, 1.0))

    monkeypatch.setattr(export, "load_checkpoint", lambda _: (None, Recipe()))
    monkeypatch.setattr(export, "export", write)
    words = ["--checkpoint", "c.pt", "--out", "o.onnx", "--data", str(tmp_path), "--test", folder]
    assert main(["export", *words]) == MISTAKE
    assert "the export was refused: at batch 1 rows differ by 0.5" in one_sentence(capsys.readouterr().err)
    assert asked["precision"] == "fp32"
    assert np.array_equal(np.asarray(asked["crops"])[:, 0, 0, 0], [0, 1, 2])


# --- all verbs


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(VERBS, "verify", replace(VERBS["verify"], run=run))
    assert main(["verify", "a.png", "b.png"]) == INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def run(_: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setitem(VERBS, "verify", replace(VERBS["verify"], run=run))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["verify", "a.png", "b.png"])


def test_a_number_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["search", "a.png", "b", "--top", "0"])
    assert end.value.code == MISTAKE
    assert "at least 1, not 0" in capsys.readouterr().err
