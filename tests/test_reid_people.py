"""People enrolled from a few crops, pictures judged and searched: by hand, with an embedder of mean colours."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from reid import people
from reid.calibrate import PairCalibration
from reid.people import People, change_people, judge, read_people, search, write_people
from reid.pictures import HEIGHT, WIDTH, read_picture

BLUE, GREEN, RED = np.eye(3, dtype=np.float32)
# P falls from 1 at distance 0 to 0 at 1: P(0.96) = 0.04. Half the pairs of two persons are nearer than 0.5.
LINE = PairCalibration(
    distance=(0.0, 1.0), probability=(1.0, 0.0), ece=0.01, people=10, thresholds={0.01: 0.5, 0.001: 0.25}
)


@dataclass
class MeanColour:
    """The mean colour of a crop as a unit row (B, G, R)."""

    name: str = "mean_colour"
    model_hash: str = "a" * 64
    dim: int = 3
    size: tuple[int, int] = (HEIGHT, WIDTH)
    most_at_once: int = 0
    most_pixels: int = 0

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.most_at_once = max(self.most_at_once, len(crops))
        self.most_pixels = max(self.most_pixels, sum(crop.size // 3 for crop in crops))
        means = np.array([crop.reshape(-1, 3).mean(axis=0) for crop in crops], np.float32).reshape(-1, 3)
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def plain(path: Path, colour: tuple[int, int, int], *, height: int = 40, width: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), colour, np.uint8))
    return path


# --- judging


@pytest.mark.parametrize(
    ("distance", "answer", "probability"),
    [
        (0.5, "yes", 0.5),  # the threshold itself accepts
        (0.51, "unsure", 0.49),
        (0.95, "unsure", 0.05),
        (0.96, "no", 0.04),  # fewer than one in twenty
        (2.0, "no", 0.0),
    ],
)
def test_a_distance_is_a_yes_a_no_or_neither(distance: float, answer: str, probability: float):
    found = judge(distance, LINE, 0.01)
    assert (found.answer, found.accepted_to) == (answer, 0.5)
    assert found.probability == pytest.approx(probability)


def test_a_stricter_rate_makes_a_yes_unsure_and_nothing_else():
    assert [judge(d, LINE, 0.01).answer for d in (0.2, 0.4, 0.99)] == ["yes", "yes", "no"]
    assert [judge(d, LINE, 0.001).answer for d in (0.2, 0.4, 0.99)] == ["yes", "unsure", "no"]


def test_without_a_calibration_there_is_a_distance_and_nothing_else():
    found = judge(0.3, None, 0.001)
    assert (found.distance, found.probability, found.answer, found.accepted_to) == (0.3, None, None, None)


# --- people


def test_who_looks_like_this_is_answered_nearest_first():
    everybody = People.nobody(MeanColour()).with_person("Blue", BLUE[None]).with_person("Green", GREEN[None])
    row = 0.8 * BLUE + 0.6 * GREEN  # at 1 - 0.8 from Blue, at 1 - 0.6 from Green
    (first, blue), (second, green) = everybody.judge(row, LINE, 0.001)
    assert (first, second) == ("Blue", "Green")
    assert (blue.distance, green.distance) == pytest.approx((0.2, 0.4))
    assert (blue.answer, green.answer) == ("yes", "unsure")  # thresholds: 0.25 at 0.001


def test_several_rows_are_held_to_half_the_rate():
    """The nearest quarter of several rows is nearer than one row is, for strangers too."""
    one = People.nobody(MeanColour()).with_person("Blue", BLUE[None])
    two = one.with_person("Blue", RED[None])
    assert one.judge(BLUE, LINE, 0.002)[0][1].accepted_to == LINE.threshold(0.002)
    assert two.judge(BLUE, LINE, 0.002)[0][1].accepted_to == LINE.threshold(0.001)


def test_a_rate_whose_half_was_not_measured_is_refused():
    two = People.nobody(MeanColour()).with_person("Ann", np.stack([BLUE, RED]))
    with pytest.raises(ValueError, match="the 2 rows of Ann are held to half the rate"):
        two.judge(BLUE, LINE, 0.0015)  # measured from 0.001 on
    assert two.judge(BLUE, None, 0.0015)[0][1].answer is None


def test_nobody_is_like_anybody_where_nobody_is_enrolled():
    assert People.nobody(MeanColour()).judge(BLUE, LINE, 0.001) == []


def test_a_person_enrolled_again_gains_rows_and_copies_are_not_kept():
    everybody = People.nobody(MeanColour()).with_person("Ann", np.stack([BLUE, GREEN]))
    everybody = everybody.with_person("Bob", RED[None]).with_person("Ann", np.stack([BLUE, RED]))
    assert everybody.counts() == {"Ann": 3, "Bob": 1}
    assert everybody.rows("Ann").tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert everybody.rows("Cid").shape == (0, 3)


def test_of_more_rows_than_are_kept_the_most_different_stay():
    rng = np.random.default_rng(0)
    near = np.tile(BLUE, (60, 1)) + 0.3 * rng.random((60, 3), np.float32)
    rows = np.concatenate([near, GREEN[None], RED[None]])
    kept = People.nobody(MeanColour()).with_person("Ann", rows).rows("Ann")
    assert len(kept) == people.ROWS_PER_PERSON
    assert any((kept == GREEN).all(axis=1)) and any((kept == RED).all(axis=1))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x00"])
def test_a_name_that_cannot_be_read_is_refused(name: str):
    with pytest.raises(ValueError, match="needs a name of printable characters"):
        People.nobody(MeanColour()).with_person(name, BLUE[None])


def test_forgotten_means_gone_from_the_file(tmp_path: Path):
    file = tmp_path / "people.npz"
    both = People.nobody(MeanColour()).with_person("Ann", BLUE[None]).with_person("Bob", RED[None])
    write_people(file, both)
    write_people(file, read_people(file).without("Ann"))
    left = read_people(file)
    assert left.counts() == {"Bob": 1}
    assert left.embeddings.tolist() == [RED.tolist()]
    assert [path.name for path in tmp_path.iterdir()] == ["people.npz"]  # no copy beside it
    assert "Ann".encode("utf-32-le") not in file.read_bytes()  # as NumPy writes text
    assert "Ann".encode("utf-32-le") in (write_people(file, both), file.read_bytes())[1]
    write_people(file, left.without("Bob"))
    assert read_people(file).counts() == {}


def test_somebody_unknown_cannot_be_forgotten():
    with pytest.raises(ValueError, match=r"nobody called 'Cid' is enrolled \(enrolled: Ann\)"):
        People.nobody(MeanColour()).with_person("Ann", BLUE[None]).without("Cid")


def test_the_file_is_for_its_owner_alone_and_comes_back_the_same(tmp_path: Path):
    file = tmp_path / "people.npz"
    file.write_bytes(b"")
    file.chmod(0o644)
    everybody = People.nobody(MeanColour()).with_person("Zoë Müller", np.stack([BLUE, RED]))
    write_people(file, everybody)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = read_people(file)
    assert (again.names, again.model, again.model_hash) == (("Zoë Müller",) * 2, "mean_colour", "a" * 64)
    assert np.array_equal(again.embeddings, everybody.embeddings)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "people.npz"
    write_people(file, People.nobody(MeanColour()).with_person("Ann", BLUE[None]))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        write_people(file, People.nobody(MeanColour()))
    monkeypatch.undo()
    assert read_people(file).counts() == {"Ann": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["people.npz"]


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 torn"])
def test_another_file_is_refused(tmp_path: Path, content: bytes):
    file = tmp_path / "people.npz"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is not a file of enrolled people"):
        read_people(file)


def test_an_archive_of_something_else_is_refused(tmp_path: Path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="is not a file of enrolled people"):
        read_people(tmp_path / "other.npz")


def not_one_number() -> dict[str, object]:
    return {"format": np.ones(3)}


def other_than_text() -> dict[str, object]:
    return {"format": 1, "names": np.array([{"a": 1}], object), "embeddings": BLUE[None], "model": "m"}


def terminal_codes() -> dict[str, object]:
    return {"format": 1, "names": ["\x1b[2J"], "embeddings": BLUE[None], "model": "m", "model_hash": "h"}


def no_numbers() -> dict[str, object]:
    return {"format": 1, "names": ["A"], "embeddings": BLUE[None] * np.nan, "model": "m", "model_hash": "h"}


@pytest.mark.parametrize("made", [not_one_number, other_than_text, terminal_codes, no_numbers])
def test_an_archive_made_to_harm_is_refused(tmp_path: Path, made: Callable[[], dict[str, object]]):
    np.savez(tmp_path / "people.npz", **made())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not a file of enrolled people"):
        read_people(tmp_path / "people.npz")


def test_an_array_alone_is_refused(tmp_path: Path):
    """It ended in a TypeError about context managers."""
    with (tmp_path / "people.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"is not a file of enrolled people: File is not a zip file"):
        read_people(tmp_path / "people.npz")


def test_a_name_is_the_same_however_its_accents_are_composed():
    """Else one Zoë is forgotten and the other, who looks the same on the screen, stays."""
    composed, apart = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    assert composed != apart
    both = People.nobody(MeanColour()).with_person(composed, BLUE[None]).with_person(f" {apart} ", RED[None])
    assert both.counts() == {composed: 2}
    assert both.without(apart).counts() == {}


def test_behind_a_link_somebody_forgotten_is_gone_too(tmp_path: Path):
    """The link was replaced by a new file, and the file behind it kept everybody."""
    (tmp_path / "deep").mkdir()
    file, link = tmp_path / "deep" / "people.npz", tmp_path / "people.npz"
    write_people(file, People.nobody(MeanColour()).with_person("Ann", BLUE[None]))
    link.symlink_to(file)
    change_people(link, lambda known: known.without("Ann"))
    assert link.is_symlink() and read_people(file).counts() == {}


def test_what_a_killed_writer_left_is_gone_after_the_next_change(tmp_path: Path):
    file = tmp_path / "people.npz"
    write_people(file, People.nobody(MeanColour()).with_person("Ann", BLUE[None]))
    torn, other = tmp_path / ".people.npz.part-ab12cd_3", tmp_path / ".people.npz-of-mine"
    for one in (torn, other):
        one.write_bytes(file.read_bytes())
    change_people(file, lambda known: known.without("Ann"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".people.npz-of-mine",
        ".people.npz.lock",
        "people.npz",
    ]
    assert stat.S_IMODE((tmp_path / ".people.npz.lock").stat().st_mode) == 0o600


def test_a_file_that_must_be_there_is_not_made(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        change_people(tmp_path / "people.npz", lambda known: known)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        change_people(tmp_path / "no" / "people.npz", lambda known: known, start=People.nobody(MeanColour()))
    assert list(tmp_path.iterdir()) == []


def enrol_some(path: Path, who: str, count: int) -> None:
    for number in range(count):
        change_people(
            path,
            lambda known, number=number: known.with_person(f"{who}{number}", BLUE[None]),  # type: ignore[misc]
            start=People.nobody(MeanColour()),
        )


@pytest.mark.skipif(people.fcntl is None, reason="no such locks here")
def test_of_those_enrolled_at_one_moment_nobody_is_lost(tmp_path: Path):
    """Two read the file, and the one who wrote last wrote without the other's person."""
    with ThreadPoolExecutor(3) as crowd:  # the lock is of the open file: threads wait as processes do
        list(crowd.map(lambda who: enrol_some(tmp_path / "people.npz", who, 10), "ABC"))
    assert len(read_people(tmp_path / "people.npz").counts()) == 30


def test_people_of_another_model_are_refused():
    with pytest.raises(
        ValueError, match="enrolled with the model mean_colour .*name that model, or enrol them anew"
    ):
        People.nobody(MeanColour()).check_made_by(MeanColour(name="other", model_hash="b" * 64))


# --- pictures


def test_a_whole_frame_is_wide_and_a_standing_person_is_not():
    assert people.is_wide(np.zeros((480, 640, 3), np.uint8))
    assert not people.is_wide(np.zeros((128, 64, 3), np.uint8))
    assert not people.is_wide(np.zeros((100, 110, 3), np.uint8))


def test_pictures_are_found_in_all_folders_by_name(tmp_path: Path):
    for name in ("b/2.JPG", "a.png", "b/.hidden.png", ".dir/x.png", "b/note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in people.pictures_in(tmp_path)] == ["a.png", "b/2.JPG"]


# --- searching


def test_a_search_ranks_by_distance_and_counts_what_it_cannot_read(tmp_path: Path):
    query = plain(tmp_path / "query.png", (200, 0, 0))
    folder = tmp_path / "found"
    plain(folder / "cam1" / "red.png", (0, 0, 9))  # at 1
    plain(folder / "mixed.png", (80, 60, 0))  # at 1 - 0.8
    plain(folder / "same.png", (50, 0, 0))  # at 0
    (folder / "torn.png").write_bytes(b"\x89PNG")
    result = search(read_picture(query), folder, MeanColour(), LINE, rate=0.01, top=2)
    assert [one.path.name for one in result.found] == ["same.png", "mixed.png"]
    assert [one.judgement.distance for one in result.found] == pytest.approx([0.0, 0.2], abs=1e-6)
    assert [one.judgement.answer for one in result.found] == ["yes", "yes"]
    assert result.searched == 3
    (reason,) = result.unreadable
    assert "torn.png is cut off" in reason


def test_the_query_does_not_find_itself(tmp_path: Path):
    query = plain(tmp_path / "query.png", (200, 0, 0))
    plain(tmp_path / "other.png", (0, 200, 0))
    result = search(read_picture(query), tmp_path, MeanColour(), None, rate=0.01, leave_out=query)
    assert [one.path.name for one in result.found] == ["other.png"]


def test_a_search_embeds_a_few_pictures_at_a_time_and_misses_none(tmp_path: Path):
    rng = np.random.default_rng(0)
    colours = rng.integers(1, 256, (people.BATCH * 2 + 3, 3))
    for number, colour in enumerate(colours):
        plain(tmp_path / "all" / f"{number:03}.png", tuple(map(int, colour)), height=8, width=4)
    query, embedder = plain(tmp_path / "query.png", (200, 100, 50)), MeanColour()
    result = search(read_picture(query), tmp_path / "all", embedder, None, rate=0.01, top=1000)
    # The slow obvious twin: every picture by itself.
    asked = np.array([200.0, 100.0, 50.0])
    cosine = colours @ asked / np.linalg.norm(colours, axis=1) / np.linalg.norm(asked)
    assert [int(one.path.stem) for one in result.found] == np.argsort(1.0 - cosine, kind="stable").tolist()
    assert [one.judgement.distance for one in result.found] == pytest.approx(np.sort(1.0 - cosine), abs=1e-5)
    assert embedder.most_at_once == people.BATCH


def test_large_pictures_do_not_wait_together_in_memory(tmp_path: Path):
    """Each is brought to the embedder's size before it waits for its batch."""
    for number in range(4):
        plain(tmp_path / "all" / f"{number}.png", (200, 0, 0), height=900, width=400)
    query, embedder = plain(tmp_path / "query.png", (200, 0, 0)), MeanColour()
    search(read_picture(query), tmp_path / "all", embedder, None, rate=0.01)
    assert embedder.most_pixels == 4 * HEIGHT * WIDTH


def test_a_folder_without_a_readable_picture_is_an_error(tmp_path: Path):
    query = read_picture(plain(tmp_path / "query.png", (1, 2, 3)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no picture"):
        search(query, tmp_path / "empty", MeanColour(), None, rate=0.01)
    (tmp_path / "empty" / "torn.png").write_bytes(b"")
    with pytest.raises(ValueError, match="no picture to compare with, besides 1 that cannot be read"):
        search(query, tmp_path / "empty", MeanColour(), None, rate=0.01)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        search(query, tmp_path / "nowhere", MeanColour(), None, rate=0.01)


# --- contact sheet


def test_a_contact_sheet_shows_every_picture_in_its_frame(tmp_path: Path):
    blue = plain(tmp_path / "blue.png", (255, 0, 0))
    found = [people.Found(blue, judge(0.1, LINE, 0.01)) for _ in range(people.COLUMNS)]
    sheet = people.contact_sheet(read_picture(blue), found)
    # Query and 6 pictures, 6 a row: two rows of tiles.
    height, width = people.TILE_HEIGHT + people.CAPTION + people.MARGIN, people.TILE_WIDTH + people.MARGIN
    assert sheet.shape == (2 * height, people.COLUMNS * width, 3)
    middle = sheet[(people.TILE_HEIGHT + people.MARGIN) // 2, width // 2 :: width]
    assert (middle == (255, 0, 0)).all()  # the pictures of the first row
    assert (sheet == people.QUERY_FRAME).all(axis=2).any()
    assert (sheet == people.FRAMES["yes"]).all(axis=2).any()
    assert (sheet[height:, 2 * width :] == 255).all()  # the rest of the second row is empty


def test_a_picture_is_written_as_its_name_says_or_refused(tmp_path: Path):
    picture = np.full((4, 6, 3), 77, np.uint8)
    people.write_picture(tmp_path / "a.png", picture)
    assert np.array_equal(read_picture(tmp_path / "a.png"), picture)
    with pytest.raises(ValueError, match="name a picture that ends in"):
        people.write_picture(tmp_path / "a.txt", picture)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        people.write_picture(tmp_path / "no" / "a.png", picture)
