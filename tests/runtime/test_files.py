import os

import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.files import expand_path, read_bounded, write_atomic


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


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "~nosuchuser/a.bin"])
def test_a_name_that_no_file_can_have_is_one_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SinkError, match="is no path that can be written"):
        write_atomic(name, b"data")
    assert os.listdir(tmp_path) == []


def test_a_home_is_expanded_and_a_name_that_only_looks_like_one_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "~clip.bin").write_bytes(b"there")
    assert expand_path("~/a.bin") == tmp_path / "home" / "a.bin"
    assert expand_path("~clip.bin").read_bytes() == b"there"
    with pytest.raises(ValueError, match="home directory"):
        expand_path("~other.bin")


def test_what_is_read_has_an_end(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(ValueError, match="larger than 0 MiB"):
        read_bounded(path, 4)
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="a device"):
        read_bounded(tmp_path / "link", 5)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 5)


def test_a_link_that_leads_back_to_itself_is_not_replaced(tmp_path):
    (tmp_path / "a.bin").symlink_to(tmp_path / "b.bin")
    (tmp_path / "b.bin").symlink_to(tmp_path / "a.bin")
    with pytest.raises(SinkError, match="leads back to itself"):
        write_atomic(tmp_path / "a.bin", b"data")
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin"] and (tmp_path / "a.bin").is_symlink()
