"""Reads the YAML files that people write."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

MOST_VALUES = 100_000  # a site of a thousand cameras with calibrations has half of them


def read_yaml(text: str) -> Any:
    """What a YAML text says.

    Raises:
        yaml.YAMLError: It is no YAML, says one name twice in one table, is nested too deeply, or says too much, as a
            few lines can whose parts repeat each other.
    """
    try:
        value = yaml.load(text, Loader=_UniqueKeyLoader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, OverflowError) as error:  # a day that no month has, a number of 5,000 digits
        raise yaml.YAMLError(str(error)) from error
    if not _is_small(value):
        raise yaml.YAMLError(f"it holds more than {MOST_VALUES} values")
    return value


def _is_small(value: Any) -> bool:
    """Whether a value has at most so many parts, each counted as often as it stands somewhere."""
    waiting, seen = [value], 0
    while waiting and seen + len(waiting) <= MOST_VALUES:
        one = waiting.pop()
        seen += 1
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return not waiting


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML silently keeps the last of two equal keys; two cameras with one name must be a mistake."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(
                None, None, "a name must be one word", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} stands here twice", key_node.start_mark
            )
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
