"""What the runtime needs, and what it must not need, proven in fresh interpreters."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sparsevit_runtime
import tiny

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name.split(".")[0])

sys.meta_path.insert(0, Blocked())
"""


def run(blocked: set[str], body: str) -> str:
    program = BLOCK.format(names=blocked) + textwrap.dedent(body)
    runtime = Path(sparsevit_runtime.__file__).parents[1]
    places = [str(runtime), str(runtime.with_name("street"))]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {places!r}\n{program}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_needs_nothing():
    everything = {"torch", "tensorrt", "tensorrt_rtx", "cuda", "onnx", "onnxruntime", "cv2", "numpy", "pydantic"}
    assert "0." in run(everything, "import sparsevit_runtime; print(sparsevit_runtime.__version__)")


def test_running_needs_no_torch_no_tensorrt_no_cuda(tmp_path):
    path = tiny.write_model(tmp_path / "tiny.onnx")
    output = run(
        {"torch", "tensorrt", "tensorrt_rtx", "cuda", "cupy", "onnx", "onnxscript", "supervision"},
        f"""
        import numpy as np
        import sparsevit_runtime as sv

        model = sv.load({str(path)!r}, threads=1)
        result = model(np.full((50, 70, 3), 64, np.uint8), 0.5, activity=True)
        drawn = sv.draw_result(result.image, result)
        print(result.label_map.min(), result.label_map.max(), result.keep, drawn.shape)
        print(len(list(model.stream("synthetic://street?size=96x64&frames=3"))))
        """,
    )
    assert output == "2 2 (12, 3, 3) (50, 70, 3)\n3\n"


@pytest.mark.parametrize(
    ("blocked", "action", "advice"),
    [
        ("onnxruntime", "sv.load({path!r})", ["pip install onnxruntime", "onnxruntime-gpu", "Jetson"]),
        ("cv2", "sv.load", ["opencv-python-headless", "JetPack", "--system-site-packages"]),
        ("supervision", "sv.load({path!r}, threads=1)(frame).to_supervision()", ["sparsevit-edge[draw]"]),
    ],
)
def test_a_missing_library_is_named_with_its_package(tmp_path, blocked, action, advice):
    path = str(tiny.write_model(tmp_path / "tiny.onnx"))
    output = run(
        {blocked},
        f"""
        import numpy as np
        import sparsevit_runtime as sv

        frame = np.zeros((4, 4, 3), np.uint8)
        try:
            {action.format(path=path)}
        except sv.MissingDependencyError as error:
            print(error)
        """,
    )
    for words in advice:
        assert words in output


def test_every_public_name_is_there():
    for name in sparsevit_runtime.__all__:
        assert getattr(sparsevit_runtime, name) is not None
    assert set(sparsevit_runtime.__all__) <= set(dir(sparsevit_runtime))
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        getattr(sparsevit_runtime, "lood")  # noqa: B009 - a plain access reads as a useless expression
