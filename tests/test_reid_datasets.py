"""File names to labels, zips to arrays, sets joined and split by person. The pictures are made here."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest

from reid import datasets, pictures
from reid.datasets import LAYOUTS, PARTS, Pictures
from reid.pictures import read_picture, to_input


@pytest.mark.parametrize(
    ("part", "path", "label"),
    [
        ("market1501_train", "Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg", (2, 1)),
        ("market1501_query", "Market-1501-v15.09.15/query/1501_c6s4_001877_00.jpg", (1501, 6)),
        (
            "market1501_gallery",
            "x/0000_c3s2_000151_01.jpg",
            (0, 3),
        ),  # a distractor stays: it must not be found
        ("market1501_gallery", "x/-1_c1s1_000401_03.jpg", None),  # junk does not
        ("cuhk03", "1000_04.jpg", (1000, 1)),
        ("cuhk03", "1742_05.jpg", (1742, 2)),
        ("cuhk03", "readme.jpg", None),
        ("cuhk01", "0971002.jpg", (971, 1)),
        ("cuhk01", "0001003.jpg", (1, 2)),
        ("pku", "data/train/001/01_8.png", (1, 1)),
        ("pku", "data/val/all_imgs/088/02_1.png", (88, 2)),
        ("pku", "data/val/all_imgs/088/contact.png", None),
        ("pku", "data/odd/02_1.png", None),
    ],
)
def test_what_a_file_name_says(part: str, path: str, label: tuple[int, int] | None) -> None:
    assert LAYOUTS[PARTS[part].layout].label(PurePosixPath(path)) == label


def write_set(folder: Path, part: str, pictures: dict[str, tuple[int, int, int] | None]) -> None:
    """A zip as `part` expects it, with plain 60x160 pictures of the given colours; None: bytes of no picture."""
    path = folder / PARTS[part].file
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, colour in pictures.items():
            done, data = cv2.imencode(".png", np.full((160, 60, 3), colour or 0, np.uint8))
            assert done
            archive.writestr(name, data.tobytes() if colour else b"not a picture")


def test_a_set_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    write_set(
        tmp_path,
        "cuhk01",
        {
            "0007003.png": (0, 0, 9),
            "0002001.png": (8, 0, 0),
            "notes.txt": (1, 1, 1),
            "0007001.png": (0, 7, 0),
        },
    )
    found = datasets.load(tmp_path, "cuhk01")
    assert found.crops.shape == (3, 128, 64, 3)
    assert found.crops[:, 64, 32].tolist() == [[8, 0, 0], [0, 7, 0], [0, 0, 9]]
    assert found.ids.tolist() == [2, 7, 7]
    assert found.cameras.tolist() == [1, 1, 2]


def test_a_folder_of_all_data_will_do(tmp_path: Path) -> None:
    write_set(tmp_path / "reid", "cuhk03", {"1000_00.jpg": (10, 20, 30)})
    assert len(datasets.load(tmp_path, "cuhk03")) == len(datasets.load(tmp_path / "reid", "cuhk03")) == 1


def test_mistakes_are_said_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no data set is called 'cuhk': choose from market1501_train, "):
        datasets.load(tmp_path, "cuhk")
    with pytest.raises(FileNotFoundError, match=r"no data set at .*labeled_train_743ids\.zip"):
        datasets.load(tmp_path, "cuhk03")
    write_set(tmp_path, "cuhk03", {"somebody.jpg": (1, 2, 3)})
    with pytest.raises(ValueError, match="no picture whose name tells"):
        datasets.load(tmp_path, "cuhk03")
    write_set(tmp_path, "cuhk03", {"1000_00.jpg": None})
    with pytest.raises(ValueError, match=r"1000_00\.jpg is not a picture"):
        datasets.load(tmp_path, "cuhk03")
    with pytest.raises(ValueError, match="2 crops, 1 ids"):
        Pictures(np.zeros((2, 128, 64, 3), np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64))


# --- pictures of one's own


def png(colour: tuple[int, ...] = (1, 2, 3), shape: tuple[int, ...] = (20, 10, 3)) -> bytes:
    done, data = cv2.imencode(".png", np.full(shape, colour[: shape[2] if len(shape) == 3 else 1], np.uint8))
    assert done
    return data.tobytes()


def write(folder: Path, files: dict[str, bytes], *, as_zip: bool = False) -> Path:
    """The files in a folder, or in a zip beside it."""
    if as_zip:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return folder.with_suffix(".zip")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


PEOPLE = {
    "bob/yard_2.png": png((4, 0, 0)),
    "alice/yard_1.PNG": png((2, 0, 0)),
    "alice/hall_0001.png": png((1, 0, 0)),
    "bob/7.png": png((3, 0, 0)),
    "bob/notes.txt": b"tall",
    "bob/.hidden_1.png": b"",
    "__MACOSX/bob/._7.png": b"",
}


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_folder_a_person_gives_numbers_to_people_and_cameras_in_sorted_order(
    tmp_path: Path, as_zip: bool
) -> None:
    found = datasets.read(write(tmp_path / "set", PEOPLE, as_zip=as_zip))
    assert found.files == ("alice/hall_0001.png", "alice/yard_1.PNG", "bob/7.png", "bob/yard_2.png")
    assert found.crops[:, 5, 5, 0].tolist() == [1, 2, 3, 4]
    assert (found.people, found.camera_names) == (("alice", "bob"), ("hall", "yard"))
    assert found.ids.tolist() == [0, 0, 1, 1]
    assert found.cameras.tolist() == [0, 1, -1, 1]  # bob/7.png does not say where
    assert found.name(1) == "bob"
    last = found.where(np.array([3, 0]))
    assert (last.files, last.people) == (("bob/yard_2.png", "alice/hall_0001.png"), found.people)


def test_pictures_without_labels_show_nobody_known(tmp_path: Path) -> None:
    found = datasets.read(write(tmp_path / "set", {"b.png": png(), "a.png": png()}), size=(32, 16))
    assert found.crops.shape == (2, 32, 16, 3)
    assert found.files == ("a.png", "b.png")
    assert found.ids.tolist() == found.cameras.tolist() == [-1, -1]
    assert found.identities().tolist() == []
    with pytest.raises(ValueError, match=r"^my set shows too few known people: 0, and at least 2"):
        datasets.require_people(found, 2, "my set")


def test_a_market_folder_is_known_by_its_names_and_keeps_distractors_but_not_as_a_person(
    tmp_path: Path,
) -> None:
    files = [
        "0002_c1s1_000451_03.jpg",
        "0007_c3s2_000001_00.jpg",
        "0000_c2s1_000002_01.jpg",
        "-1_c1s1_000401_03.jpg",
    ]
    path = write(tmp_path / "query", {f"set/{name}": png() for name in files})
    found = datasets.read(path)
    assert (found.ids.tolist(), found.cameras.tolist()) == ([0, 2, 7], [2, 1, 3])
    assert found.identities().tolist() == [2, 7]
    assert (found.name(0), found.name(7)) == ("0", "7")
    joined, _ = datasets.join([found, found])
    assert joined.ids.tolist() == [0, 1, 2, 3]  # not six
    for seed in range(5):
        rest, held = datasets.hold_out(found, 1, np.random.default_rng(seed))
        assert len(held) == 1 and 0 not in held.ids and 0 in rest.ids


def test_parts_of_market_are_not_mixed(tmp_path: Path) -> None:
    files = {f"{part}/0002_c1s1_000451_03.jpg": png() for part in ("query", "bounding_box_train")}
    with pytest.raises(ValueError, match="bounding_box_train and query, which must not be mixed"):
        datasets.read(write(tmp_path / "market", files))


def test_grey_and_transparent_pictures_become_blue_green_red(tmp_path: Path) -> None:
    files = {"grey.png": png((9,), (8, 4)), "through.png": png((1, 2, 3, 0), (8, 4, 4))}
    found = datasets.read(write(tmp_path / "set", files))
    assert found.crops[:, 0, 0].tolist() == [[9, 9, 9], [1, 2, 3]]


def jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", noise)[1].tobytes())


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"not a picture", "is not a picture"),
        (b"", "is not a picture"),
        (jpeg()[:-2], "is cut off"),
        (jpeg()[:500], "is cut off"),
        (jpeg()[:20], "is cut off"),
        (png()[:-20], "is cut off"),
        (b"\xff\xd8\xff\xd9", "is not a picture"),
    ],
)
def test_a_file_that_is_no_whole_picture_is_named(
    tmp_path: Path, data: bytes, said: str, as_zip: bool
) -> None:
    path = write(tmp_path / "set", {"ann/a_1.jpg": jpeg(), "ann/a_2.jpg": data}, as_zip=as_zip)
    with pytest.raises(ValueError, match=rf"set.*ann/a_2\.jpg {said}"):
        datasets.read(path)


def test_a_set_of_ones_own_lies_here_or_among_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.zip").touch()
    assert datasets.find("own.zip", Path("data")) == Path("data/own.zip")
    assert datasets.find("own.zip", None) == Path("own.zip")
    (tmp_path / "own.zip").touch()
    assert datasets.find("own.zip", Path("data")) == Path("own.zip")
    assert datasets.find("other.zip", Path("data")) == Path("other.zip")  # reading says that it is nowhere


def test_a_damaged_zip_is_said_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(b"PK no zip at all")
    with pytest.raises(ValueError, match=r"set\.zip is not a zip that can be read"):
        datasets.read(path)
    write(tmp_path / "set", {"ann/a_1.jpg": jpeg()}, as_zip=True)
    data = bytearray(path.read_bytes())
    data[200] ^= 255  # inside the picture: its checksum differs
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"set\.zip: ann/a_1\.jpg cannot be read: Bad CRC"):
        datasets.read(path)


def test_a_picture_far_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "LARGEST_BYTES", 100)
    monkeypatch.setattr(pictures, "LARGEST_BYTES", 100)
    for as_zip in (False, True):
        with pytest.raises(ValueError, match=r"a_1\.jpg has more than 0 MiB"):
            datasets.read(write(tmp_path / "set", {"ann/a_1.jpg": jpeg()}, as_zip=as_zip))


def test_what_cannot_be_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder or zip of pictures"):
        datasets.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no picture \(\.jpg"):
        datasets.read(tmp_path / "empty")
    (tmp_path / "one.jpg").write_bytes(jpeg())
    with pytest.raises(ValueError, match="one.jpg is neither a folder nor a zip"):
        datasets.read(tmp_path / "one.jpg")
    mixed = write(tmp_path / "mixed", {"a.png": png(), "ann/a_1.png": png()})
    with pytest.raises(ValueError, match="cannot be told: 1 of 2 pictures lie in subfolders"):
        datasets.read(mixed)
    assert datasets.read(mixed, "folders").files == ("ann/a_1.png",)
    assert len(datasets.read(mixed, "flat")) == 2
    with pytest.raises(ValueError, match="no layout is called 'duke': choose from auto, market1501"):
        datasets.read(mixed, "duke")
    with pytest.raises(ValueError, match=r"tells who is on it, as PPPP_NN\.jpg does in the layout cuhk03"):
        datasets.read(mixed, "cuhk03")


def test_a_set_must_show_enough_people_and_say_where_they_were_seen(tmp_path: Path) -> None:
    found = datasets.read(write(tmp_path / "set", PEOPLE))
    datasets.require_people(found, 2)
    with pytest.raises(ValueError, match=r"too few known people: 1 \(alice\), and at least 2"):
        datasets.require_people(found.where(found.ids == 0), 2)
    with pytest.raises(ValueError, match=r"1 pictures that name no camera, such as bob/7\.png"):
        datasets.require_cameras(found, 2)
    datasets.require_cameras(found.where(found.ids == 0), 2)
    with pytest.raises(ValueError, match="comes from 1 cameras, and at least 2"):
        datasets.require_cameras(found.where(np.array([0])), 2)


# --- the cache


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_cached_set_is_the_same_mapped_and_decoded_once(
    tmp_path: Path, as_zip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "set", PEOPLE, as_zip=as_zip)
    plain = datasets.read(path)
    first = datasets.read(path, cache=tmp_path / "cache")
    monkeypatch.setattr(datasets, "to_input", None)  # decoding again would fail
    again = datasets.read(path, cache=tmp_path / "cache")
    assert isinstance(again.crops, np.memmap)
    for found in (first, again):
        assert np.array_equal(plain.crops, found.crops)
        assert np.array_equal(plain.ids, found.ids) and np.array_equal(plain.cameras, found.cameras)
        assert (plain.people, plain.camera_names, plain.files, plain.nobody) == (
            found.people,
            found.camera_names,
            found.files,
            found.nobody,
        )


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_cache_of_another_source_layout_or_size_is_not_used(tmp_path: Path, as_zip: bool) -> None:
    """It used to be found by the part's name alone, whatever zip had made it."""
    cache = tmp_path / "cache"
    path = write(tmp_path / "set", {"ann/a_1.png": png((1, 1, 1))}, as_zip=as_zip)
    datasets.read(path, cache=cache)
    assert datasets.read(path, "flat", cache=cache).identities().tolist() == []
    assert datasets.read(path, size=(32, 16), cache=cache).crops.shape == (1, 32, 16, 3)
    before = path.stat()
    write(tmp_path / "set", {"ann/a_1.png": png((7, 7, 7))}, as_zip=as_zip)
    if as_zip:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # even of the same age
    else:
        os.utime(path / "ann/a_1.png", ns=(0, 0))
    assert datasets.read(path, cache=cache).crops[0, 0, 0].tolist() == [7, 7, 7]


def test_a_reading_that_fails_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    path = write(tmp_path / "set", {"ann/a_1.jpg": jpeg(), "ann/a_2.jpg": b""})
    with pytest.raises(ValueError, match="is not a picture"):
        datasets.read(path, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


# --- sets of sets


def people(*ids: int) -> Pictures:
    """One crop a given id, marked with its row number."""
    count = len(ids)
    crops = np.zeros((count, 128, 64, 3), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    return Pictures(crops, np.array(ids), np.ones(count, np.int64))


def test_joined_sets_share_no_person() -> None:
    joined, origin = datasets.join([people(5, 9, 5), people(5, 7)])
    assert joined.ids.tolist() == [0, 1, 0, 2, 3]  # person 5 of the second set is somebody else
    assert origin.tolist() == [0, 0, 0, 1, 1]
    assert joined.crops[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1]


def test_people_are_held_out_whole_and_by_seed() -> None:
    everybody = people(1, 2, 3, 4, 1, 2, 3, 4)
    rest, held = datasets.hold_out(everybody, 2, np.random.default_rng(0))
    assert len(set(held.ids)) == 2
    assert set(rest.ids).isdisjoint(held.ids)
    assert len(rest) + len(held) == len(everybody)
    again = datasets.hold_out(everybody, 2, np.random.default_rng(0))[1]
    assert again.ids.tolist() == held.ids.tolist()


def test_sets_that_cannot_be_joined_or_split_are_refused() -> None:
    small = Pictures(np.zeros((1, 32, 16, 3), np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="no set of pictures"):
        datasets.join([])
    with pytest.raises(ValueError, match="different sizes"):
        datasets.join([people(1), small])
    with pytest.raises(ValueError, match="set 1 shows too few known people: 0"):
        datasets.join([people(1), people()])
    with pytest.raises(ValueError, match=r"too few known people: 2 \(1, 2\), and at least 3"):
        datasets.hold_out(people(1, 2), 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="1 files, 2 ids"):
        replace(people(1, 2), files=("a.jpg",))


# --- one crop


def test_a_crop_that_is_none_is_refused_with_what_to_do() -> None:
    for crop, said in [
        (np.zeros((4, 0, 3), np.uint8), "0x4 pixels has no area"),
        (np.full((4, 2, 3), np.nan, np.float32), "float32: round to whole numbers"),
        (np.zeros((4, 2), np.uint8), "repeat a grey picture"),
        (np.zeros((4, 2, 1), np.uint8), "repeat a grey picture"),
        (np.zeros((4, 2, 4), np.uint8), "drop the fourth channel"),
        ([[0]], "not a list"),
        (None, "not a NoneType"),
    ]:
        with pytest.raises(ValueError, match=said):
            to_input(crop)  # type: ignore[arg-type]


def test_a_crop_may_be_a_view_and_of_any_shape() -> None:
    source = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert np.array_equal(to_input(source[:, ::-1]), to_input(source[:, ::-1].copy()))
    assert to_input(source[:1, :1], (3, 2)).tolist() == [[source[0, 0].tolist()] * 2] * 3
    assert to_input(np.zeros((1, 5000, 3), np.uint8)).shape == (128, 64, 3)


def test_one_picture_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png((1, 2, 3)))
    assert read_picture(tmp_path / "a.png").shape == (20, 10, 3)
    with pytest.raises(FileNotFoundError, match="no such picture"):
        read_picture(tmp_path / "b.png")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_picture(tmp_path)


def test_of_sixteen_bits_the_upper_eight_count(tmp_path: Path) -> None:
    deep = np.array([[[0, 255, 256], [32768, 65279, 65535]]], np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert read_picture(tmp_path / "deep.png").tolist() == [[[0, 0, 1], [128, 254, 255]]]
    assert cv2.imwrite(str(tmp_path / "grey.png"), deep[:, :, 2])
    assert read_picture(tmp_path / "grey.png").tolist() == [[[1, 1, 1], [255, 255, 255]]]


@pytest.mark.parametrize("kind", [".pfm", ".hdr", ".tiff"])
def test_a_picture_of_floats_is_refused(tmp_path: Path, kind: str) -> None:
    """It was brought to 8 bits in silence, and what is no number became black."""
    floats = np.full((6, 3, 3), 0.5, np.float32)
    floats[2, 1] = np.nan
    assert cv2.imwrite(str(tmp_path / f"a{kind}"), floats)
    with pytest.raises(
        ValueError, match=rf"a\{kind} is a picture of float32: give one of 8 or 16 whole bits"
    ):
        read_picture(tmp_path / f"a{kind}")
