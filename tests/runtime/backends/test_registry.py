from pathlib import Path

import pytest

import tiny
from sparsevit_runtime.backends import open_backend
from sparsevit_runtime.errors import BackendError, ModelError


@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_onnx_files_open_in_onnxruntime(tmp_path: Path, backend):
    opened = open_backend(tiny.write_model(tmp_path / "tiny.onnx"), backend=backend)
    assert opened.name == "onnxruntime"
    opened.close()


@pytest.mark.parametrize(
    ("name", "backend", "error", "message"),
    [
        ("model.engine", "auto", ModelError, "no model file"),
        ("model.onnx", "tensorrt", ModelError, "no model file"),
        ("model.plan", "onnxruntime", BackendError, "load the .onnx file"),
        ("model.onnx", "tpu", BackendError, "choose auto or one of: onnxruntime, tensorrt, triton"),
        ("model.pth", "auto", ModelError, "sparsevit export"),
        ("model", "auto", ModelError, "sparsevit export"),
        ("model.onnx", "auto", ModelError, "no model file"),
    ],
)
def test_what_cannot_be_opened(tmp_path: Path, name, backend, error, message):
    with pytest.raises(error, match=message):
        open_backend(tmp_path / name, backend=backend)


def test_a_folder_is_not_a_model(tmp_path: Path):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelError, match="no model file"):
        open_backend(tmp_path / "folder.onnx")
