"""A card says all that made a model, and is read back as it was written."""

import argparse
import math
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from reid.card import card_of, card_text, command
from reid.recipe import RECIPES, Recipe, add_arguments, from_options, from_table

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
PLAIN = TEXT | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
TABLE = st.dictionaries(TEXT, PLAIN | st.lists(PLAIN, max_size=3), max_size=3)


def read_back(text: str, folder: Path) -> models.ModelCard:
    (folder / "m.toml").write_text(text, encoding="utf-8", newline="")
    return models.read_card(folder / "m.toml")


@given(details=st.dictionaries(TEXT, PLAIN | TABLE | st.dictionaries(TEXT, TABLE, max_size=2), max_size=4))
def test_any_details_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, details: dict[str, object]
) -> None:
    card = models.ModelCard(name="m", kind="embedder", file="m.onnx", details=details)
    assert dict(read_back(card_text(card), tmp_path_factory.mktemp("card")).details) == details


def test_a_card_without_details_has_no_table() -> None:
    card = models.ModelCard(name="m", kind="embedder", file="m.onnx", bytes=7)
    assert card_text(card) == 'name = "m"\nkind = "embedder"\nfile = "m.onnx"\nbytes = 7\n'


def test_what_toml_has_no_word_for_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot say None"):
        card_text(models.ModelCard(name="m", kind="embedder", file="m.onnx", details={"x": None}))


def test_a_card_measures_its_file_and_holds_the_whole_recipe(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"abc")
    card = card_of(
        tmp_path / "m.onnx",
        recipe := replace(Recipe(), height=64, width=32, dim=24),
        name="m",
        dim=24,
        origin="here",
        licence="Apache-2.0",
        data="drawn",
        data_terms="none",
        score="none",
        details={"calibration": {"offset": 1.5, "slope": -2.0}},
    )
    again = read_back(card_text(card), tmp_path)
    assert again.bytes == 3
    assert (
        again.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # of abc, FIPS 180-2
    assert "64x32" in again.input and "(N, 24)" in again.output
    assert again.details["calibration"] == {"offset": 1.5, "slope": -2.0}
    assert from_table(again.details["recipe"]) == recipe
    assert models.verify(str(tmp_path / "m.onnx")) == "ok"


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_on_a_card_makes_the_same_recipe(name: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = shlex.split(command(RECIPES[name]).removeprefix("python -m reid train"))
    assert asdict(from_options(parser.parse_args(words))) == asdict(RECIPES[name])
    assert not any(isinstance(v, float) and math.isnan(v) for v in asdict(RECIPES[name]).values())
