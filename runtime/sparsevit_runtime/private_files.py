"""Files and folders that nobody but this user can have written."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection
from pathlib import Path

from .errors import SinkError
from .files import write_atomic

_PRIVATE = 0o700
_ROOT = 0


def make_private_folder(folder: Path, ours: Collection[str] | None = None) -> None:
    """Makes a folder, or takes one that is there away from everybody but this user.

    A folder made earlier with a wider mode, by whatever program, is narrowed.

    Args:
        folder: the folder.
        ours: names that may be in it for it to be narrowed; with others it is a folder of several uses, which keeps its
            mode. None narrows it whatever is in it.

    Raises:
        SinkError: it cannot be made, is no folder, is another user's, or others may exchange what is in it.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=_PRIVATE)
        found = folder.stat()
    except OSError as error:
        raise SinkError(f"cannot make the folder {folder} ({error.strerror or error})") from error
    if not stat.S_ISDIR(found.st_mode):
        raise SinkError(f"{folder} is a file, not a folder; move it away")
    if found.st_uid != os.geteuid():
        raise SinkError(f"the folder {folder} is another user's (uid {found.st_uid}, this is uid {os.geteuid()})")
    if not found.st_mode & 0o077 or (ours is not None and not _holds_only(folder, ours)):
        if others_may_exchange(found):
            raise SinkError(f"everybody may write in {folder}, which holds other things too")
        return
    try:
        folder.chmod(_PRIVATE)
    except OSError as error:
        if others_may_exchange(found):
            raise SinkError(f"everybody may write in {folder}, and its mode does not change ({error})") from error


def write_private(path: Path, data: bytes) -> None:
    """Writes a file of a private folder, whole or not at all, with mode 0600. Raises SinkError."""
    write_atomic(path, data)
    try:
        path.chmod(0o600)
    except OSError as error:
        raise SinkError(f"cannot change the mode of {path} ({error.strerror or error})") from error


def others_may_exchange(found: os.stat_result) -> bool:
    """Whether others may replace what is in a folder of this status, or write a file of it.

    The group of a user's own, as Debian and Ubuntu give to each, is not others; a folder where each may remove only
    their own (/tmp) is safe, too.
    """
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return False
    group = found.st_mode & stat.S_IWGRP and found.st_gid not in (os.getegid(), _ROOT)
    return bool(group or found.st_mode & stat.S_IWOTH)


def is_own_file(path: Path) -> bool:
    """Whether a file is this user's, lies here and not behind a link, and others may not write it."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not others_may_exchange(found)


def is_private(path: Path) -> bool:
    """Whether nobody but this user and root can have written a file, nor put another one into its place.

    Args:
        path: absolute; links count with where they lie and with what they name.
    """
    trusted = (os.geteuid(), _ROOT)
    try:
        for place in {path, path.resolve(strict=True)}:
            for each in (place, *place.parents):
                found = each.lstat()
                if found.st_uid not in trusted:
                    return False
                if not stat.S_ISLNK(found.st_mode) and others_may_exchange(found):
                    return False
    except OSError:
        return False
    return True


def _holds_only(folder: Path, names: Collection[str]) -> bool:
    try:
        return all(entry.name in names for entry in os.scandir(folder))
    except OSError:
        return False
