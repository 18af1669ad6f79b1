import math
import subprocess
import sys
from pathlib import Path

import pytest

import sparsevit_runtime
from sparsevit_runtime.dependencies import explain, missing, require
from sparsevit_runtime.errors import MissingDependencyError


def test_what_is_there_is_imported():
    assert require("math") is math


def test_what_is_not_there_is_named():
    with pytest.raises(MissingDependencyError, match="no_such_library is not installed. pip install") as error:
        require("no_such_library")
    assert error.value.name == "no_such_library"


def test_a_library_that_is_itself_broken_shows_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library") as error:
        require("half_installed")
    assert not isinstance(error.value, MissingDependencyError)


@pytest.mark.parametrize("module", ["cv2", "onnxruntime", "tensorrt", "tensorrt_rtx"])
def test_advice_covers_every_kind_of_machine(module):
    text = str(missing(module))
    assert "Laptop" in text and "x86" in text and "Jetson" in text


@pytest.fixture
def place(tmp_path):
    """A folder that is all of an interpreter's site-packages."""
    return tmp_path


@pytest.fixture
def ask(place):
    """The error that an expression ends with in an interpreter without other libraries than those of `place`."""
    paths = [str(place), str(Path(sparsevit_runtime.__file__).parents[1])]

    def run(expression: str) -> str:
        program = f"""
import sys
sys.path[:0] = {paths}
from sparsevit_runtime.dependencies import *
try:
    {expression}
except MissingDependencyError as error:
    print(error.name, error, sep="|")
"""
        line = [sys.executable, "-I", "-S", "-c", program]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        name, _, text = done.stdout.strip().partition("|")
        assert name in ("cv2", "onnxruntime")
        return text

    return run


def record(place, *names):
    """Puts distributions without files on pip's list."""
    for name in names:
        folder = place / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


def test_a_folder_without_code_is_told_with_what_to_uninstall(place, ask):
    record(place, "opencv-python-headless", "opencv-contrib-python")
    (place / "cv2" / "qt").mkdir(parents=True)
    text = ask("require('cv2')")
    assert f"{place / 'cv2'} has no imread" in text
    assert "Reinstall it: pip uninstall opencv-python-headless opencv-contrib-python, then install one again" in text
    assert "sparsevit-edge[cpu]" in text


def test_a_library_on_pips_list_without_files_is_reinstalled(place, ask):
    record(place, "onnxruntime-gpu")
    text = ask("require('onnxruntime')")
    assert "its files are gone, though pip lists onnxruntime-gpu" in text
    assert "Reinstall it: pip uninstall onnxruntime-gpu, then" in text


def test_a_library_nobody_lists_is_missing(ask):
    text = ask("require('onnxruntime')")
    assert "onnxruntime is not installed" in text
    assert "sparsevit-edge[cpu]" in text and "Reinstall" not in text


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "libGL.so.1"),
        ("numpy.core.multiarray failed to import", "pip install 'numpy<2'"),
        ("", "does not say why"),
    ],
)
def test_an_opencv_that_does_not_load_says_why(place, ask, cause, words):
    record(place, "opencv-python")
    (place / "cv2.py").write_text(f"raise ImportError({cause!r})\n")
    text = ask("require('cv2')")
    assert "cv2 does not load" in text and words in text
    assert "Reinstall it: pip uninstall opencv-python, then" in text


def test_other_libraries_that_do_not_load_show_their_own_error(tmp_path, monkeypatch):
    (tmp_path / "linked_wrongly.py").write_text("raise ImportError('libnvinfer.so.10: cannot open')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="libnvinfer") as error:
        require("linked_wrongly")
    assert not isinstance(error.value, MissingDependencyError)


EXPLAINED = "exec('try:\\n    import {}\\nexcept ImportError as error:\\n    raise explain(error)')"


def test_a_failed_import_is_explained_by_the_library_behind_it(place, ask):
    assert "cv2 is not installed" in ask(EXPLAINED.format("cv2"))
    # As OpenCV does: what is said the second time is not the cause.
    (place / "cv2.py").write_text(
        "import sys\n"
        "again, sys.again = hasattr(sys, 'again'), True\n"
        "raise ImportError('recursion is detected' if again else 'libGL.so.1: cannot open shared object file')\n"
    )
    assert "cv2 does not load (libGL.so.1: cannot open shared object file)" in ask(EXPLAINED.format("cv2"))


def failed(statement: str) -> ImportError:
    with pytest.raises(ImportError) as error:
        exec(statement)
    return error.value


def test_a_failed_import_that_has_another_reason_is_not_explained():
    assert explain(failed("import no_such_library")) is None
    assert explain(failed("from math import no_such_name")) is None


def test_an_explained_import_stays_as_it_is():
    told = missing("torch")
    assert explain(told) is told
