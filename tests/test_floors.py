"""Imports point down only: says which file broke which floor, and that importing does nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("tracker", "reid", "flow", "models", "scenes", "configs", "benchmarks", "run_tracker")

# The first name that fits decides. A module may import modules of its own floor or below.
FLOORS: tuple[tuple[str, int], ...] = (
    ("run_tracker", 6),
    ("benchmarks", 6),
    ("tracker.cli", 6),
    ("tracker.web", 6),
    ("tracker.roles", 5),
    ("tracker.process", 5),
    ("tracker.questions", 5),
    ("tracker.doctor", 5),
    ("tracker.build", 4),
    ("tracker.evaluate", 4),
    ("tracker.label", 4),
    ("tracker.io", 3),
    ("tracker.core", 2),
    ("tracker", 1),
    ("scenes", 0),
    ("reid", 0),
    ("flow", 0),
    ("models", -1),
    ("configs", -1),
)
SIBLINGS = ("reid", "flow", "scenes")  # none imports another
CORE_MAY_USE = ("reid.gallery", "flow.warp")  # NumPy only
EDGES = (
    "socket",
    "threading",
    "multiprocessing",
    "subprocess",
    "time",
    "zmq",
    "av",
    "sqlite3",
    "asyncio",
    "random",
)


def floor_of(module: str) -> int:
    for name, floor in FLOORS:
        if module == name or module.startswith(name + "."):
            return floor
    raise LookupError(f"{module} stands on no floor: add it to tests/test_floors.py")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def our_files() -> list[Path]:
    folders = [ROOT / name for name in OURS if (ROOT / name).is_dir()]
    return sorted(path for folder in folders for path in folder.rglob("*.py")) + [ROOT / "run_tracker.py"]


def imports_of(source: str, module: str, *, is_package: bool = False) -> list[tuple[int, str, bool]]:
    """(line, module or module.name, at import time) of everything imported, type-checking imports left out."""
    found: list[tuple[int, str, bool]] = []

    def visit(node: ast.AST, at_import: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    visit(other, at_import)
                continue
            if isinstance(child, ast.Import):
                found.extend((child.lineno, alias.name, at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    own = module.split(".")
                    above = own[: len(own) - child.level + is_package]
                    base = ".".join([*above, *([child.module] if child.module else [])])
                found.extend((child.lineno, f"{base}.{alias.name}", at_import) for alias in child.names)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            visit(child, at_import and not inside)

    visit(ast.parse(source), True)
    return found


def broken_floors(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What a module imports that it must not, a sentence each."""
    floor, top = floor_of(module), module.split(".")[0]
    broken = []
    for line, target, at_import in imports_of(source, module, is_package=is_package):
        other = target.split(".")[0]
        if module.startswith("tracker.core") and other in EDGES:
            broken.append(f"{module}:{line} is pure but imports {other}")
        if other not in OURS or (
            module == "tracker" and not at_import
        ):  # the facade asks for its parts when used
            continue
        if floor_of(target) > floor:
            broken.append(f"{module}:{line} (floor {floor}) imports {target} (floor {floor_of(target)})")
        if top in SIBLINGS and other in SIBLINGS and other != top:
            broken.append(f"{module}:{line} imports its sibling {target}")
        if module.startswith("tracker.core") and other in SIBLINGS and not target.startswith(CORE_MAY_USE):
            broken.append(
                f"{module}:{line} is pure and may use {' and '.join(CORE_MAY_USE)} only, not {target}"
            )
        if module.startswith("tracker.core") and other == "models":
            broken.append(f"{module}:{line} is pure but imports {target}")
    return broken


@pytest.mark.parametrize("path", our_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path):
    if not path.is_file():
        pytest.skip("not written yet")
    source = path.read_text(encoding="utf-8")
    assert broken_floors(source, module_name(path), is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tracker.core.linker", "from tracker.io import bus"),
        ("tracker.core.linker", "def f():\n    import time"),
        ("tracker.core.linker", "from reid.embedder import Embedder"),
        ("tracker.types", "import tracker.core.linker"),
        ("reid.embedder", "from tracker.types import Frame"),
        ("reid.embedder", "import flow.warp"),
        ("models.cards", "import reid"),
        ("tracker.io.sources", "from ..build import build_site"),
    ],
)
def test_a_broken_floor_is_found(module: str, source: str):
    assert len(broken_floors(source, module)) == 1


def test_type_checking_imports_and_the_floors_below_are_allowed():
    source = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tracker.io import bus\nimport models"
    )
    assert broken_floors(source, "tracker.types") == []
    assert broken_floors("from reid.gallery import Gallery", "tracker.core.linker") == []


def loaded_by(*modules: str) -> set[str]:
    """The modules that a fresh interpreter holds after importing these."""
    code = f"import sys\n{''.join(f'import {name}{chr(10)}' for name in modules)}print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return set(done.stdout.split())


def submodules(package: str) -> list[str]:
    return [module_name(path) for path in sorted((ROOT / package.replace(".", "/")).glob("*.py"))]


@pytest.mark.parametrize("package", ["tracker.core", "reid", "flow"])
def test_running_needs_no_torch(package: str):
    modules = submodules(package) if package == "tracker.core" else [package]
    assert modules, f"{package} is empty"
    assert loaded_by(*modules).isdisjoint({"torch", "onnx", "trackeval", "matplotlib"})


def test_importing_the_package_is_light():
    heavy = {"torch", "onnxruntime", "cv2", "av", "zmq", "scipy", "pydantic"}
    assert loaded_by("tracker").isdisjoint(heavy)
    assert loaded_by("run_tracker").isdisjoint(heavy | {"numpy"})


CALLS_THAT_ACT = {
    "open",
    "print",
    "exec",
    "eval",
    "urlopen",
    "system",
    "Popen",
    "Thread",
    "Process",
    "InferenceSession",
}


@pytest.mark.parametrize("path", our_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_importing_does_nothing_but_define(path: Path):
    """No file is opened, nothing is printed, no thread, session or logging set-up starts at import."""
    if not path.is_file():
        pytest.skip("not written yet")
    acting = []
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.If):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                if name in CALLS_THAT_ACT:
                    acting.append(f"{module_name(path)}:{node.lineno} calls {name} when it is imported")
    assert acting == []
