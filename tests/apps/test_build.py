"""`sparsevit build` on a machine without a GPU: TensorRT for RTX builds there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from sparsevit_runtime.tensorrt import read_sidecar

RTX = ("--flavour", "tensorrt_rtx")


@pytest.fixture(scope="session")
def rtx():
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("TensorRT for RTX is not installed: `pip install tensorrt-rtx-cu13`")


def test_build_then_up_to_date_then_why_not(rtx, sparsevit, tiny_model, tmp_path):
    model, engine = tiny_model("tiny", layout="normalized"), tmp_path / "m.engine"
    said = sparsevit("build", model, "-o", engine, *RTX)
    assert said.code == 0, said.err
    assert "built because there is no m.engine yet" in said.out and "tensorrt_rtx 1." in said.out
    assert "0 0 0 | 9 2 2 | 24 6 6" in said.out
    assert read_sidecar(engine).model.name == "tiny"
    said = sparsevit("build", model, "-o", engine, *RTX)
    assert said.code == 0 and "m.engine is up to date" in said.out
    said = sparsevit("build", model, "-o", engine, *RTX, "--batch", "1,2,3", "--tf32", "--workspace", "64")
    assert "built because the use of TF32 changed (False -> True); the profile changed" in said.out
    assert "64 MiB" in said.out and "3 3 32 48" in said.out


def test_the_command_in_a_process_of_its_own(rtx, environment, tiny_model, tmp_path):
    """As typed: nothing on stderr, and no library path has to be set."""
    environment = {name: value for name, value in environment.items() if name != "LD_LIBRARY_PATH"}
    model = tiny_model("tiny", layout="normalized")
    command = [sys.executable, "-m", "sparsevit_apps.cli", "build", model, "-o", tmp_path / "m.engine"]
    done = subprocess.run([*command, *RTX], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert (tmp_path / "m.engine").stat().st_size > 1000


def test_an_exported_model_needs_the_plugins_or_portable(rtx, sparsevit, exported, tmp_path):
    said = sparsevit("build", exported.path, "-o", tmp_path / "m.engine", *RTX, "--plugins", tmp_path / "none.so")
    assert said.code == 1 and said.err.count("\n") == 1
    assert "no plugin library: looked for" in said.err and "--portable" in said.err
    said = sparsevit("build", exported.path, "-o", tmp_path / "m.engine", *RTX, "--portable")
    assert said.code == 0 and "plugins    0 layers" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "m.onnx"], "an engine is an .engine file"),
        (["-o", "m.engine", "--batch", "4,2,1"], "ascending from 1"),
        (["-o", "m.engine", "--batch", "1,2"], "ascending from 1"),
        (["-o", "m.engine", "--batch", "0"], "ascending from 1"),
        (["-o", "m.engine", "--batch", "one"], "ascending from 1"),
        (["-o", "m.engine", "--batch", "9" * 5000], "ascending from 1"),
        (["-o", "m.engine", "--workspace", "0"], "workspace"),
        (["-o", "m.engine", "--portable", "--plugins", "p.so"], "a portable engine has no plugins"),
        (["-o", "m.engine", "--flavour", "tensorflow"], "tensorflow"),
        ([], "--output"),
    ],
)
def test_wrong_usage(sparsevit, arguments, message):
    said = sparsevit("build", "m.onnx", *arguments)
    assert said.code == 2
    assert message in " ".join(said.err.replace("│", " ").split())


def test_a_file_that_is_no_model(sparsevit, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"text")
    said = sparsevit("build", tmp_path / "m.onnx", "-o", tmp_path / "m.engine")
    assert said.code == 1 and "is not an ONNX model" in said.err


def test_half_precision_is_made_of_a_model_that_has_products_to_round(sparsevit, tiny_model, tmp_path):
    model = tiny_model("tiny", layout="normalized")
    said = sparsevit("half", model, "-o", tmp_path / "half.engine")
    assert said.code == 2 and "a model is an .onnx file" in said.err
    said = sparsevit("half", model, "-o", tmp_path / "half.onnx")
    assert said.code == 1 and "cannot be converted to half precision (it has no product)" in said.err
    assert [path.suffix for path in tmp_path.iterdir()] == [".onnx"] and not (tmp_path / "half.onnx").exists()
