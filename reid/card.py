"""The card of a model made here: what it is, what made it, what it must reach; TOML, as `models.read_card` reads."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import models
from reid.recipe import Recipe


def card_text(card: models.ModelCard) -> str:
    """The card as TOML, texts and numbers first, then ``[details]`` with a table for each mapping in it.

    Raises:
        ValueError: The details hold something that TOML has no word for, None for example.
    """
    said = {one.name: getattr(card, one.name) for one in fields(card) if one.name != "details"}
    plain = {name: value for name, value in said.items() if value}
    return (
        "\n".join([*_lines(plain, ""), *_lines({"details": card.details} if card.details else {}, "")]) + "\n"
    )


def _lines(table: Mapping[str, Any], name: str) -> list[str]:
    """A table's own values, then its tables under their full names."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in inner]
    for key, value in inner.items():
        full = f"{name}.{_key(key)}" if name else _key(key)
        lines += ["", f"[{full}]", *_lines(value, full)]
    return lines


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if is_bare else _text(key)


def _text(text: str) -> str:
    # A basic string of TOML is one of JSON, but for DEL, which JSON leaves bare.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(_value(one) for one in value)}]"
        case _:
            raise ValueError(f"a model card cannot say {value!r}: give text, numbers, lists or tables")


def card_of(
    file: Path,
    recipe: Recipe,
    *,
    name: str,
    dim: int,
    origin: str,
    licence: str,
    data: str,
    data_terms: str,
    score: str,
    details: Mapping[str, Any],
    precision: str = "fp32",
) -> models.ModelCard:
    """The card of a file that `reid.export.export` wrote.

    Args:
        file: The .onnx file; its size and hash are measured.
        recipe: What made it. The whole of it goes onto the card, as the command and as ``[details.recipe]``.
        name: Of the card.
        dim: D, the length of a row.
        origin: Who made the weights, from which start.
        licence: Of the weights.
        data: What it was trained on.
        data_terms: What the data's terms ask of a user.
        score: What it must reach, and on what.
        details: More tables, the calibrations for example.
        precision: That it was exported in.
    """
    height, width = recipe.height, recipe.width
    return models.ModelCard(
        name=name,
        kind="embedder",
        file=file.name,
        sha256=models.sha256_of(file),
        bytes=file.stat().st_size,
        origin=origin,
        licence=licence,
        data=data,
        data_terms=data_terms,
        recipe=f"{command(recipe)} --data DIR --out OUT, then python -m reid export --checkpoint OUT/checkpoint.pt "
        f"--data DIR --precision {precision} --out {file.name}",
        input=f"crops uint8 (N, H, W, 3), BGR as OpenCV reads, any size: resized to {height}x{width} without keeping "
        "the aspect, and scaled, inside the graph",
        output=f"embeddings float32 (N, {dim}), unit rows; compare by cosine",
        score=score,
        details={**details, "recipe": asdict(recipe)},
    )


def command(recipe: Recipe) -> str:
    """The command that trains with this recipe, every setting in it."""
    words = ["python -m reid train"]
    for name, value in asdict(recipe).items():
        values = value if isinstance(value, tuple | list) else (value,)
        words.append(f"--{name.replace('_', '-')} {' '.join(str(one) for one in values)}")
    return " ".join(words)
