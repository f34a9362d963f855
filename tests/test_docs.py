"""The documents say what is true: settings, commands, links, and the example that replaces a stage.

docs/reference.md is generated. After a change of the settings or the commands, change configs/site.yaml, then:

    python tests/test_docs.py
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import shlex
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # where this file is run by hand

import run_tracker  # noqa: E402  (the path comes first)
import scenes.settings  # noqa: E402
from tracker import config  # noqa: E402

SITE = ROOT / "configs" / "site.yaml"
REFERENCE = ROOT / "docs" / "reference.md"
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A setting that is switched off: '#' in the first column, then the line as it would stand there.
OFF = re.compile(r"^#((?:  ){0,2}[A-Za-z_]\w*:(?: .*)?)$")
LINE = re.compile(r"^(?P<indent> *)(?P<name>[A-Za-z_]\w*):(?P<value>.*?)(?:\s+# (?P<comment>.*))?$")


# --- site.yaml


def switched_on(text: str) -> str:
    """A site file with every setting that was switched off."""
    return "\n".join(found[1] if (found := OFF.match(line)) else line for line in text.splitlines())


def comments(text: str) -> dict[str, str]:
    """``track.confirm_s`` -> what its comment says."""
    said: dict[str, str] = {}
    path: list[str] = []
    for line in switched_on(text).splitlines():
        if found := LINE.match(line):
            path = [*path[: len(found["indent"]) // 2], found["name"]]
            said[".".join(path)] = (found["comment"] or "").strip()
    return said


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Where each settings model stands in a site file."""
    yield "", config.Site
    yield "cameras.hall", config.CameraSettings
    for name, field in config.Site.model_fields.items():
        kinds = _models(field.annotation)
        if kinds and name != "cameras":
            yield name, kinds[0]


def _models(annotation: Any) -> list[type[BaseModel]]:
    parts = typing.get_args(annotation) or (annotation,)
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]


def leaves(path: str, model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The settings of a section that are no sections themselves."""
    return {
        name: field
        for name, field in model.model_fields.items()
        if not (path == "" and (name == "cameras" or _models(field.annotation)))
    }


def test_site_yaml_is_a_site():
    site = config.load(SITE)
    assert list(site.cameras) == ["hall", "yard"]
    assert site.model_copy(update={"cameras": {}}) == config.Site.model_construct(cameras={})


def test_site_yaml_shows_every_setting_with_its_true_default():
    values = yaml.safe_load(switched_on(SITE.read_text(encoding="utf-8")))
    wrong = []
    for path, model in sections():
        shown = values
        for part in filter(None, path.split(".")):
            shown = shown[part]
        for name, field in leaves(path, model).items():
            place = f"{path}.{name}".strip(".")
            if name not in shown:
                wrong.append(f"{place} is not in configs/site.yaml")
            elif not field.is_required() and shown[name] != field.get_default(call_default_factory=True):
                wrong.append(
                    f"{place}: {shown[name]!r} in configs/site.yaml, {field.default!r} in tracker/config.py"
                )
    assert wrong == []


def test_site_yaml_says_why():
    said = comments(SITE.read_text(encoding="utf-8"))
    places = [f"{path}.{name}".strip(".") for path, model in sections() for name in leaves(path, model)]
    assert [place for place in places if not said.get(place) and not place.endswith(".kind")] == []


def test_site_yaml_names_no_setting_that_is_not_there():
    """Everything switched on at once is still a site: extra names are refused by the models."""
    values = yaml.safe_load(switched_on(SITE.read_text(encoding="utf-8")))
    assert config.from_values(values, source="site.yaml").link == config.LinkSettings()


def test_site_yaml_explains_a_calibration():
    last = SITE.read_text(encoding="utf-8").rpartition("# A calibration")[2]
    assert [name for name in config.Calibration.model_fields if f"#     {name} " not in last] == []


def test_a_switched_off_line_and_prose_are_told_apart():
    text = "#track:\n#  lost_s: 3.0   # s\n# Prose: is prose\n#     url: an example"
    assert switched_on(text) == "track:\n  lost_s: 3.0   # s\n# Prose: is prose\n#     url: an example"
    assert comments(text) == {"track": "", "track.lost_s": "s"}


# --- reference.md


def reference() -> str:
    """docs/reference.md as it should be."""
    said = comments(SITE.read_text(encoding="utf-8"))
    lines = [
        "# Reference",
        "",
        "Every setting of a site file and every command. Generated: `python tests/test_docs.py` writes it, from the",
        "settings models, the comments of [configs/site.yaml](../configs/site.yaml) and the command line's own parser.",
        "",
        "## Settings",
        "",
        "`--set section.name=value` overrides one of them on the command line. [site.yaml](../configs/site.yaml) says",
        "where paths are looked up and how secrets are kept out of the file.",
    ]
    for path, model in sections():
        title = {"": "The site", "cameras.hall": "`cameras.<name>`"}.get(path, f"`{path}`")
        note = said.get(path, "") if path != "cameras.hall" else "one camera; a bare string is its `url`"
        lines += ["", f"### {title}", "", *([_sentence(note), ""] if note else [])]
        lines += ["| setting | default | values | meaning |", "|---|---|---|---|"]
        for name, field in leaves(path, model).items():
            default = "required" if field.is_required() else f"`{_shown(field)}`"
            meaning = said.get(f"{path}.{name}".strip("."), "")
            lines.append(f"| `{name}` | {default} | {values_of(field)} | {_cell(meaning)} |")
    lines += ["", "## Commands", "", "`throughline VERB` and `python run_tracker.py VERB` are the same."]
    for verb, one in verbs(run_tracker.parser()):
        lines += ["", f"### {verb}", "", _sentence(one.description or "")]
        rows = [
            _option(action)
            for action in one._actions
            if action.help != argparse.SUPPRESS and action.dest != "help"
        ]
        if rows:
            lines += ["", "| argument | meaning |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def verbs(parser: argparse.ArgumentParser, before: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, ``models list`` included."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                if one.get_default("run") is not None:
                    yield f"{before}{name}", one
                yield from verbs(one, f"{before}{name} ")


def values_of(field: FieldInfo) -> str:
    """A setting's type and range, in words."""
    kinds = []
    parts = typing.get_args(field.annotation) if _is_union(field.annotation) else (field.annotation,)
    for part in parts:
        if part is type(None):
            kinds.append("null")
        elif typing.get_origin(part) is Literal:
            kinds += [f"`{value}`" for value in typing.get_args(part)]
        elif typing.get_origin(part) is list:
            kinds.append("list")
        else:
            names = {float: "number", int: "whole number", str: "text", bool: "true or false"}
            kinds.append(names.get(part, part.__name__.removesuffix("Settings").lower()))
    limits = [
        f"{sign} {getattr(limit, name):,}".replace(",", " ")
        for limit in field.metadata
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if hasattr(limit, name)
    ]
    return ", ".join([" or ".join(dict.fromkeys(kinds)), *limits])


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _shown(field: FieldInfo) -> str:
    """A default as YAML writes it."""
    value = field.get_default(call_default_factory=True)
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]


def _option(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    value = action.metavar or action.dest.upper()
    takes = action.nargs != 0 and not isinstance(action, argparse._StoreTrueAction)
    choices = "|".join(map(str, action.choices)) if action.choices else value
    text = (action.help or "") % {"default": action.default, "prog": "throughline"}
    return f"| {names + (f' `{choices}`' if takes else '') if names else f'`{value}`'} | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<camera>", "&lt;camera&gt;")


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:].rstrip(".") + "."


def test_reference_is_up_to_date():
    assert REFERENCE.read_text(encoding="utf-8") == reference(), "run: python tests/test_docs.py"


def test_values_are_told_in_words():
    fields = config.LinkSettings.model_fields
    assert values_of(fields["false_merge_rate"]) == "number, > 0, < 1"
    assert values_of(fields["max_identities"]) == "whole number, ≥ 10"
    assert values_of(config.FlowSettings.model_fields["kind"]) == (
        "`auto` or `base` or `tiny` or `dis` or `none`"
    )
    assert values_of(config.CameraSettings.model_fields["start"]) == "text or number or null"


# --- links


def links(text: str) -> list[str]:
    """Targets of Markdown links and pictures, outside code."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """What a page's headings are called in links, as GitHub does."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    dead = []
    for target in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else page.parent / path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            dead.append(target)
    assert dead == []


def test_links_in_code_are_no_links():
    assert links("[a](b.md) `[c](d)` ![e](f.png#g)\n```\n[h](i)\n```") == ["b.md", "f.png#g"]
    assert anchors("# A b: c\n## `track`\n") == {"a-b-c", "track"}


# --- command lines


def command_lines(text: str) -> list[list[str]]:
    """The arguments of every ``throughline ...`` and ``python run_tracker.py ...`` that a page shows."""
    text = re.sub(r"\\\n\s*", " ", text)
    blocks = re.findall(r"```(?:\w*)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"^    (\S.*)$", text, flags=re.MULTILINE)
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = []
    for line in lines:
        for command in re.split(r"&&|;|\|", line):
            words = re.match(r"\s*(?:\$ )?(?:throughline|python run_tracker\.py)((?: \S+)+)", command)
            if words and "VERB" not in words[1]:
                found.append(shlex.split(words[1], comments=True))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_can_be_typed_as_they_are_shown(page: Path, capsys: pytest.CaptureFixture[str]):
    parser = run_tracker.parser()
    wrong = []
    for arguments in command_lines(page.read_text(encoding="utf-8")):
        try:
            parser.parse_args(arguments)
        except SystemExit as end:
            if end.code:
                wrong.append((arguments, capsys.readouterr().err.splitlines()[-1]))
    assert wrong == []


def test_commands_are_found_and_wrong_ones_refused(capsys: pytest.CaptureFixture[str]):
    text = "```\npip install . && python run_tracker.py demo\n```\n`throughline live x --sett a` `throughline VERB`"
    assert command_lines(text) == [["demo"], ["live", "x", "--sett", "a"]]
    assert command_lines("    throughline models list          what there is") == [["models", "list"]]
    with pytest.raises(SystemExit):
        run_tracker.parser().parse_args(["live", "x", "--sett", "a"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_are_to_be_run_are_there(page: Path):
    names = re.findall(
        r"python -m ((?:benchmarks|models|reid|flow|scenes)[\w.]*)", page.read_text(encoding="utf-8")
    )
    assert [name for name in names if importlib.util.find_spec(name) is None] == []


def test_settings_that_pages_name_are_there():
    """``link.leave_s`` in prose is a setting, and ``--set`` takes it."""
    places = {f"{path}.{name}" for path, model in sections() for name in leaves(path, model)}
    known = {path for path, _ in sections() if path and "." not in path}
    setting = re.compile(r"`(?:--set )?([a-z]+\.[a-z_]+)(?!: unknown)(?:[=:][^`]*)?`")
    wrong = []
    for page in PAGES:
        for name in setting.findall(page.read_text(encoding="utf-8")):
            section, _, ending = name.partition(".")
            is_other = ending in ("py", "json", "yaml", "npy") or (ROOT / section / f"{ending}.py").exists()
            if section in known and not is_other and name not in places:
                wrong.append(f"{page.name}: {name}")
    assert wrong == []


# --- examples


SCENES_PAGE = ROOT / "docs" / "scenes.md"  # its YAML files are scenes, all others are sites


def blocks(language: str, pages: list[Path] = PAGES) -> list[Any]:
    """Every example of a language, each with the name of its page."""
    return [
        pytest.param(block, id=f"{page.stem}-{n}")
        for page in pages
        for n, block in enumerate(
            re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        )
    ]


@pytest.mark.parametrize("block", blocks("yaml", [page for page in PAGES if page != SCENES_PAGE]))
def test_parts_of_site_files_are_sound(block: str, monkeypatch: pytest.MonkeyPatch):
    for name in re.findall(r"\$\{(\w+)\}", block):
        monkeypatch.setenv(name, "secret")
    config.from_values({"cameras": {"hall": "hall.mp4"}} | yaml.safe_load(block), source="example")


@pytest.mark.parametrize("block", blocks("yaml", [SCENES_PAGE]))
def test_parts_of_scene_files_are_sound(block: str):
    whole = {
        "name": "example",
        "areas": {"yard": {"x": [-8, 8], "y": [-6, 6]}},
        "cameras": {"gate": {"at": [-7, -5, 3], "look": [0, 0, 1]}},
    }
    scenes.settings.from_values(whole | yaml.safe_load(block), source="example")


def test_the_calibration_shown_is_one():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    config.Calibration.model_validate(json.loads(block))


@pytest.mark.parametrize("block", blocks("python"))
def test_python_examples_are_python_and_import_what_is_there(block: str):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in run_tracker.OURS:
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_a_stage_replaced_from_python_works(capsys: pytest.CaptureFixture[str]):
    """The block in docs/recipes.md, as it stands there: an embedder of one's own, from frames to identities."""
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    example = (
        text.partition("## Replace a stage from Python")[2].partition("```python\n")[2].partition("```")[0]
    )
    names: dict[str, Any] = {}
    exec(compile(example, "docs/recipes.md", "exec"), names)  # noqa: S102  (our own page)
    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Appeared(") for line in told), told
    assert names["linker"].view().identities


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
