from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import sparsevit_runtime
from sparsevit_runtime.diagnostics.machine import MachineInfo, installed_versions, read_machine


def test_versions_of_what_is_installed():
    assert installed_versions(("numpy", "no-such-distribution")) == {"numpy": np.__version__}


def test_this_machine():
    machine = read_machine()
    assert machine.cpu
    assert 1 <= machine.physical_cores <= machine.logical_cores == os.cpu_count()
    assert 0 < machine.usable_cores <= machine.logical_cores
    assert machine.versions["sparsevit-edge"] == sparsevit_runtime.__version__
    assert MachineInfo.model_validate_json(machine.model_dump_json()) == machine


def test_reading_the_machine_needs_no_library():
    code = (
        "import sys; from sparsevit_runtime.diagnostics import read_machine; read_machine(); "
        "print([m for m in ('numpy', 'cv2', 'onnxruntime', 'rich', 'typer') if m in sys.modules])"
    )
    where = str(Path(sparsevit_runtime.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": where}, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
