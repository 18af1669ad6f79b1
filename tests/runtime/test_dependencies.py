import math

import pytest

from sparsevit_runtime.dependencies import missing, require
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
