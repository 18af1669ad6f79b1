"""What keeps the ops out of a session, and the ABI they are built against."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from host_ort import ORT
from single_nodes import open_model, single_node

ERRORS = onnxruntime.capi.onnxruntime_pybind11_state
#: Folder of onnxruntime_c_api.h, where somebody has one.
HEADERS = "SPARSEVIT_ONNXRUNTIME_HEADERS"
GRID = {"height": 9, "width": 10, "window_size": 7, "shift": 3}


def test_an_older_onnxruntime_is_told(library, tmp_path):
    program = tmp_path / "fake"
    source = Path(__file__).with_name("fake_runtime.cpp")
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", source, "-o", program, "-ldl"], check=True)
    said = subprocess.run([program, library], check=True, capture_output=True, text=True).stdout.splitlines()
    assert said == [
        "1 9 libsparsevit_ort needs ONNX Runtime 1.18 or newer, this is 1.17.3; without it the model file's portable "
        "bodies run",
        "1",
    ]


def test_a_library_that_is_not_there_or_none(tmp_path):
    model = single_node("WindowScore", GRID, {"x": "float32"}, "float32")
    text = tmp_path / "text.so"
    text.write_text("no library")
    for path in (tmp_path / "missing.so", text):
        with pytest.raises((ERRORS.Fail, RuntimeError), match=path.name):
            open_model(model, path)


def test_options_that_were_given_the_ops_serve_several_sessions(library):
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library))
    model = single_node("WindowScore", GRID, {"x": "float32"}, "float32")
    x = np.ones((1, 9, 10, 4), np.float32)
    first, second = (open_model(model, None, options).run(None, {"x": x})[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[0, 0], np.sqrt(42), rtol=1e-6)  # of 49 tokens, 7 are padding


def test_the_places_in_the_table_are_those_of_the_header(tmp_path):
    """Where a header is at hand; what runs above calls nearly all of them."""
    folder = os.environ.get(HEADERS)
    if not folder:
        pytest.skip(f"no header of ONNX Runtime: name its folder in ${HEADERS}")
    table = (ORT / "api.h").read_text().split("enum Slot")[1]
    places = re.findall(r"^    k(\w+) = (\d+),$", table, re.MULTILINE)
    assert len(places) > 30
    ours = [
        (name, number) for name, number in places if not name.startswith(("Fail", "Invalid", "Not")) and "_" in name
    ]
    checks = [f"static_assert(offsetof(OrtApi, {name}) == {number} * sizeof(void*));" for name, number in ours]
    fields = re.findall(r"^    \w[\w ]*\*?\*? ?\(\*(\w+)\)\(", (ORT / "api.h").read_text(), re.MULTILINE)
    checks.append(f"static_assert(offsetof(OrtCustomOp, ReleaseAliasMap) == {len(fields[:25])} * sizeof(void*));")
    source = tmp_path / "places.cpp"
    source.write_text("#include <cstddef>\n#include <onnxruntime_c_api.h>\n" + "\n".join(checks))
    subprocess.run(["g++", "-std=c++17", "-fsyntax-only", f"-I{folder}", source], check=True)
