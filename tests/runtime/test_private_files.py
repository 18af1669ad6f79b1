from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.private_files import is_own_file, is_private, make_private_folder, write_private

OTHER = 54321  # a user that nobody is
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_private_whoever_made_it(tmp_path):
    make_private_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o777)
    (wide / "engines").mkdir()
    make_private_folder(wide, ("engines", "timing"))
    assert mode(wide) == 0o700


@pytest.mark.parametrize(
    ("found", "refused"), [(0o777, True), (0o757, True), (0o1777, False), (0o755, False), (0o700, False)]
)
def test_a_folder_of_several_uses_keeps_its_mode_or_is_refused(tmp_path, found, refused):
    folder = tmp_path / "several"
    folder.mkdir()
    (folder / "thesis.tex").touch()
    folder.chmod(found)
    if refused:
        with pytest.raises(SinkError, match="everybody may write in .*several"):
            make_private_folder(folder, ("engines",))
    else:
        make_private_folder(folder, ("engines",))
    assert mode(folder) == found


@as_root
def test_a_folder_of_another_user_is_refused(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, OTHER, OTHER)
    with pytest.raises(SinkError, match=f"theirs is another user's .uid {OTHER}"):
        make_private_folder(folder)


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="is a file, not a folder"):
        make_private_folder(tmp_path / "file")
    with pytest.raises(SinkError, match="cannot make the folder"):
        make_private_folder(tmp_path / "file" / "inside" / "it")


def test_a_private_file_is_for_this_user_alone(tmp_path):
    write_private(tmp_path / "f", b"data")
    assert mode(tmp_path / "f") == 0o600 and (tmp_path / "f").read_bytes() == b"data"
    assert is_own_file(tmp_path / "f") and not is_own_file(tmp_path) and not is_own_file(tmp_path / "absent")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    assert not is_own_file(tmp_path / "link")
    (tmp_path / "f").chmod(0o666)
    assert not is_own_file(tmp_path / "f")


def test_what_others_may_exchange_is_not_private(tmp_path):
    place = tmp_path / "a" / "b" / "f"
    place.parent.mkdir(parents=True)
    place.touch()
    assert is_private(place)  # in a folder of a test: below /tmp, where each may remove but their own
    place.parent.parent.chmod(0o777)
    assert not is_private(place)
    (tmp_path / "link").symlink_to(place)
    assert not is_private(tmp_path / "link")
    place.parent.parent.chmod(0o755)
    assert is_private(tmp_path / "link") and not is_private(tmp_path / "absent")


@as_root
def test_what_another_user_may_write_is_not_private(tmp_path):
    place = tmp_path / "f"
    place.touch()
    os.chown(place, OTHER, OTHER)
    assert not is_private(place) and not is_own_file(place)
