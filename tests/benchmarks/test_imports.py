"""The benchmarks run from a checkout without the tests on the path: what both need lies with the benchmarks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
OF_THE_TESTS = {path.stem for path in (ROOT / "tests").glob("*.py")}


def imported(text: str) -> set[str]:
    """Top-level names of the modules that a source imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_imports_no_test(path: Path) -> None:
    text = path.read_text()
    assert "host_kernels" in OF_THE_TESTS
    assert not imported(text) & (OF_THE_TESTS | {"tests", "conftest"})
    assert "sys.path" not in text


def test_imports_within_functions_count() -> None:
    assert imported("import a.b\ndef f():\n    from c.d import e") == {"a", "c"}
