"""A Python of its own, started in a folder full of traps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sparsevit_runtime
from sparsevit_runtime.child_process import clean_path, command

#: What such a process imports, from the standard library and from others.
TRAPPED = ("json", "numpy", "typing", "os", "importlib", "sitecustomize", "sparsevit_runtime", "pydantic", "tensorrt")
ROOT = Path(sparsevit_runtime.__file__).parents[1]


@pytest.fixture
def trapped(tmp_path, monkeypatch):
    """The current folder, in which every module leaves a note that it ran, and every package."""
    folder = tmp_path / "traps"
    folder.mkdir()
    note = tmp_path / "ran"
    for name in TRAPPED:
        trap = f"open({str(note)!r}, 'a').write({name!r} + ' ')\nraise SystemExit('trapped')\n"
        (folder / f"{name}.py").write_text(trap)
    monkeypatch.chdir(folder)
    return note


def worker(environment: dict[str, str], python_path: str) -> subprocess.CompletedProcess[str]:
    """The TensorRT worker, as a parent whose path of modules begins with the current folder would start it."""
    program = (
        "import sys; sys.path = [entry for entry in sys.path if entry]\n"  # the parent itself is to get as far as this
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from sparsevit_runtime.child_process import command\n"
        "import json, os, subprocess\n"
        "sys.path[:0] = ['', os.getcwd(), '.', 'relative']\n"
        "subprocess.run(command('sparsevit_runtime.tensorrt.worker'), input='{\"unknown\": 1}', text=True)\n"
    )
    environment = {**environment, "PYTHONPATH": python_path}
    started = [sys.executable, "-I", "-c", program]
    return subprocess.run(started, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("python_path", ["", f":{ROOT}", ".", str(ROOT)])
def test_nothing_of_the_current_folder_is_imported(trapped, python_path):
    done = worker(dict(os.environ), python_path)
    assert "unexpected keyword argument 'unknown'" in done.stderr, done.stderr  # it came to its own work
    assert not trapped.exists(), trapped.read_text()


def test_a_python_started_with_m_falls_into_the_trap(trapped):
    """So the traps are real."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = [sys.executable, "-m", "sparsevit_runtime.tensorrt.worker"]
    subprocess.run(started, env=environment, input="{}", capture_output=True, text=True, timeout=60)
    assert trapped.exists()


def test_a_path_keeps_what_does_not_depend_on_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = ["", ".", "relative", str(tmp_path), str(tmp_path / "link"), str(tmp_path / "other"), "/usr/lib/python3.zip"]
    assert clean_path(path) == [str(tmp_path / "other"), "/usr/lib/python3.zip"]


def test_the_current_folder_stays_where_it_is_a_part_of_python(monkeypatch):
    installed = str(Path(os.__file__).parent)
    monkeypatch.chdir(installed)
    assert clean_path(["", installed]) == [installed]


def test_the_command_is_of_this_python_and_this_package():
    python, isolated, script, module, path = command("sparsevit_runtime.tensorrt.worker")
    assert (python, isolated, module) == (sys.executable, "-I", "sparsevit_runtime.tensorrt.worker")
    assert Path(script).parent == ROOT / "sparsevit_runtime"
    assert all(os.path.isabs(entry) for entry in json.loads(path))
