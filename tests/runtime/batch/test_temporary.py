from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sparsevit_runtime.batch.temporary import own_folder, temporary_folder
from sparsevit_runtime.errors import BatchError

KILLED = """
import os, sys
sys.path[:] = {path!r}
from {module} import temporary_folder
held = temporary_folder()
held.__enter__()
os._exit(9)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # it is asked for anew
    return tmp_path


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_stays():
    with temporary_folder() as used:
        (used / "copy.mp4").touch()
        code = KILLED.format(path=sys.path, module=temporary_folder.__module__)
        assert subprocess.run([sys.executable, "-c", code]).returncode == 9
        assert len(list(own_folder().glob("work-*"))) == 2
        with temporary_folder() as other:
            assert set(own_folder().glob("work-*")) == {used, other}
        assert (used / "copy.mp4").exists()
    assert not list(own_folder().glob("work-*"))


def test_a_file_in_its_place():
    folder = own_folder()
    folder.rmdir()
    folder.touch()
    with pytest.raises(BatchError, match="cannot use"):
        own_folder()
