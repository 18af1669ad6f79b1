"""What the runtime needs, and what it must not need, proven in fresh interpreters."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sparsevit_runtime
import sparsevit_street
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
    where = [str(Path(package.__file__).parents[1]) for package in (sparsevit_runtime, sparsevit_street)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {where!r}\n{program}"],
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


@pytest.mark.slow
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
        (
            "onnxruntime",
            "sv.load({path!r})",
            ["sparsevit-edge[cpu]", "pip install onnxruntime", "sparsevit-edge[gpu]", "onnxruntime-gpu", "Jetson"],
        ),
        (
            "cv2",
            "sv.load",
            [
                "sparsevit-edge[cpu]",
                "opencv-python-headless",
                "sparsevit-edge[gpu]",
                "JetPack",
                "--system-site-packages",
            ],
        ),
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


#: What `import cv2` finds after one of two OpenCV packages was uninstalled: a folder without code.
EMPTY = """
import sys
from importlib.machinery import ModuleSpec

class Remains:
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = ["/env/site-packages/cv2"]
            return spec

sys.meta_path.insert(0, Remains())
"""


@pytest.mark.slow
def test_an_opencv_without_code_is_told_whichever_name_is_asked_for_first():
    output = run(
        set(),
        EMPTY
        + textwrap.dedent(
            """
            import os
            import sparsevit_runtime as sv

            for name in sv.__all__:
                if child := os.fork():  # each name is the first
                    assert os.waitpid(child, 0)[1] == 0, name
                    continue
                try:
                    getattr(sv, name)
                except sv.MissingDependencyError as error:
                    print(name, error, flush=True)
                os._exit(0)
            """
        ),
    )
    told = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert {"load", "Model", "Stream", "open_source", "open_sink", "open_backend", "draw_result"} <= set(told)
    for text in told.values():
        assert "/env/site-packages/cv2 has no imread" in text
        assert "Reinstall it" in text


def test_every_public_name_is_there():
    for name in sparsevit_runtime.__all__:
        assert getattr(sparsevit_runtime, name) is not None
    assert set(sparsevit_runtime.__all__) <= set(dir(sparsevit_runtime))
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        getattr(sparsevit_runtime, "lood")  # noqa: B009 - a plain access reads as a useless expression


@pytest.mark.parametrize("blocked", ["starlette", "uvicorn", "websockets", "prometheus_client"])
def test_a_page_for_browsers_needs_its_extra_and_nothing_else_does(blocked):
    output = run(
        {blocked},
        """
        import sparsevit_runtime as sv

        sv.open_sink("null://").close()
        try:
            sv.open_sink("http://localhost:0")
        except sv.MissingDependencyError as error:
            print(error)
        """,
    )
    assert f"{blocked} is not installed" in output and "sparsevit-edge[web]" in output
