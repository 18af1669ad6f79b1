import os

import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.files import write_atomic


def test_writes_and_overwrites(tmp_path):
    write_atomic(tmp_path / "a.bin", b"one")
    write_atomic(str(tmp_path / "a.bin"), b"two")
    assert (tmp_path / "a.bin").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_missing_folder_is_one_error(tmp_path):
    with pytest.raises(SinkError, match="check the folder"):
        write_atomic(tmp_path / "nowhere" / "a.bin", b"")


def test_nothing_stays_behind_when_the_target_cannot_be_replaced(tmp_path):
    target = tmp_path / "a.bin"
    target.mkdir()
    with pytest.raises(SinkError, match=r"a\.bin"):
        write_atomic(target, b"data")
    assert os.listdir(tmp_path) == ["a.bin"]
