"""The floors of the house: each package imports only those below it, and rooms of the runtime make no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: From the ground up: folder and package.
FLOORS = (
    ("street", "sparsevit_street"),
    ("runtime", "sparsevit_runtime"),
    ("exporter", "sparsevit_exporter"),
    ("training", "sparsevit_training"),
    ("apps", "sparsevit_apps"),
)
PACKAGES = [package for _, package in FLOORS]
#: What a device need not have, and so what the runtime asks for through `dependencies.require` only.
OPTIONAL = {
    "torch",
    "onnx",
    "onnxscript",
    "tensorrt",
    "tensorrt_rtx",
    "cuda",
    "supervision",
    "matplotlib",
    "scipy",
    "paho",
    "pyarrow",
    "fsspec",
    "ray",
    "tritonclient",
    "grpc",
}
#: What a page for browsers needs, in the room that is entered only where all of it is there.
WEB = {"starlette", "uvicorn", "websockets", "prometheus_client"}
#: Lines that a module may have.
LONGEST = 430


def modules(folder: str, package: str) -> list[Path]:
    return sorted((ROOT / folder / package).rglob("*.py"))


def name_of(path: Path, folder: str) -> str:
    parts = path.relative_to(ROOT / folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, folder: str, *, at_once: bool = False) -> Iterator[str]:
    """Absolute names of what a module imports; `at_once` leaves out what waits for a call or a type checker."""
    package = name_of(path, folder)
    if path.name != "__init__.py":
        package = package.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    for node in _imports_at_once(tree.body) if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _imports_at_once(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif (isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test)) or isinstance(node, ast.Try):
            yield from _imports_at_once(node.body)


@pytest.mark.parametrize(("folder", "package"), FLOORS)
def test_a_floor_imports_only_what_is_below_it(folder, package):
    above = set(PACKAGES[PACKAGES.index(package) + 1 :])
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(folder, package)
        for name in imports(path, folder)
        if name.split(".")[0] in above
    ]
    assert not wrong


def test_the_runtime_imports_nothing_that_a_device_need_not_have():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("runtime", "sparsevit_runtime")
        for name in imports(path, "runtime", at_once=True)
        if name.split(".")[0] in OPTIONAL | {"rich", "typer"} | (set() if path.parent.name == "web" else WEB)
    ]
    assert not wrong


@pytest.mark.parametrize(("folder", "package"), FLOORS)
def test_rooms_make_no_circle(folder, package):
    """A room is a folder of the package, or a module beside them; what waits for a call counts too."""
    rooms: dict[str, set[str]] = {}
    for path in modules(folder, package):
        own = name_of(path, folder).split(".")
        if len(own) == 1:
            continue  # the package's door leads everywhere
        for name in imports(path, folder, at_once=True):
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1 and parts[1] != own[1]:
                rooms.setdefault(own[1], set()).add(parts[1])
    done: set[str] = set()

    def visit(room: str, trail: tuple[str, ...]) -> None:
        assert room not in trail, " > ".join([*trail[trail.index(room) :], room])
        if room not in done:
            for below in sorted(rooms.get(room, ())):
                visit(below, (*trail, room))
            done.add(room)

    for room in sorted(rooms):
        visit(room, ())


def test_the_engine_layer_knows_no_backend():
    wrong = [
        f"{path.name} imports {name}"
        for path in modules("runtime/sparsevit_runtime", "tensorrt")
        for name in imports(path, "runtime")
        if name.startswith("sparsevit_runtime.backends")
    ]
    assert not wrong


@pytest.mark.parametrize("task", ["segmentation", "detection", "instances"])
@pytest.mark.parametrize(("folder", "package"), FLOORS)
def test_a_task_is_named_in_one_file_a_package(folder, package, task):
    files = [path for path in modules(folder, package) if f'"{task}"' in path.read_text()]
    assert len(files) <= 1, [str(path.relative_to(ROOT)) for path in files]


#: Where instance segmentation stands, and who names what is defined there: registers of tasks, doors of packages, and
#: the reader of checkpoints that are one.
INSTANCES = {
    "runtime": (
        ["sparsevit_runtime.tasks.instances"],
        ["sparsevit_runtime", "sparsevit_runtime.tasks"],
    ),
    "exporter": (
        ["sparsevit_exporter.tasks.instances"],
        ["sparsevit_exporter", "sparsevit_exporter.checkpoints.mask_rcnn", "sparsevit_exporter.tasks"],
    ),
    "training": (
        ["sparsevit_training.objectives.instances", "sparsevit_training.tasks.instances"],
        ["sparsevit_training.tasks"],
    ),
}


def defined(path: Path) -> set[str]:
    """Classes and functions of a module."""
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef)) if node.name[0] != "_"}


def mentioned(path: Path) -> Iterator[str]:
    """What a module names outside strings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.name for alias in node.names)


def test_what_a_task_defines_is_named_by_registers_and_doors_alone():
    of_package = {folder: {name_of(p, folder): p for p in modules(folder, package)} for folder, package in FLOORS}
    names = {
        name for folder, (own, _) in INSTANCES.items() for each in own for name in defined(of_package[folder][each])
    }
    assert {"Instances", "InstanceModel", "InstancesEvaluation", "InstancesObjective", "draw_instances"} < names
    for folder, paths in of_package.items():
        own, others = INSTANCES.get(folder, ([], []))
        assert sorted(set(own) | {n for n, path in paths.items() if names & set(mentioned(path))}) == sorted(
            own + others
        )


@pytest.mark.parametrize(("folder", "package"), FLOORS)
def test_modules_are_short(folder, package):
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules(folder, package)}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}
