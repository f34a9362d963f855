"""File names to labels, zips to arrays, sets joined and split by person. The pictures are made here."""

import zipfile
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest

from reid import datasets
from reid.datasets import PARTS, Pictures


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
    ],
)
def test_what_a_file_name_says(part: str, path: str, label: tuple[int, int] | None) -> None:
    assert PARTS[part].label(PurePosixPath(path)) == label


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


def test_a_cached_set_is_the_same_and_needs_its_zip_no_more(tmp_path: Path) -> None:
    write_set(tmp_path, "cuhk03", {"1000_00.jpg": (1, 2, 3), "1001_07.jpg": (4, 5, 6)})
    first = datasets.load(tmp_path, "cuhk03", tmp_path / "cache")
    (tmp_path / PARTS["cuhk03"].file).unlink()
    again = datasets.load(tmp_path, "cuhk03", tmp_path / "cache")
    assert np.array_equal(first.crops, again.crops)
    assert (again.ids.tolist(), again.cameras.tolist()) == ([1000, 1001], [1, 2])


def test_a_folder_of_all_data_will_do(tmp_path: Path) -> None:
    write_set(tmp_path / "reid", "cuhk03", {"1000_00.jpg": (10, 20, 30)})
    assert len(datasets.load(tmp_path, "cuhk03")) == len(datasets.load(tmp_path / "reid", "cuhk03")) == 1


def test_mistakes_are_said_with_their_place(tmp_path: Path) -> None:
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
