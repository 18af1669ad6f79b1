"""Writing files whole or not at all, and only over files of this program's own."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from .errors import DiskFullError, SinkError
from .texts import shown

#: Extended attribute of files that this program wrote: size and time of change they had then.
_MARK = "user.sparsevit"
#: What writing fails with where there is no room: a full disk, a quota, a limit on the size of a file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Letters of a name that its temporary file repeats; the whole could be longer than names may be.
_SHOWN = 40
#: A file of unknown size is read so many bytes at a time.
_PART_BYTES = 1 << 20


def write_atomic(path: str | Path, data: bytes) -> None:
    """Writes under a temporary name beside `path` and renames it, so that no reader ever sees half a file.

    A symbolic link stays, and what it points to is replaced.

    Raises:
        SinkError: no file can have that name, the folder is missing, or the file cannot be written; `DiskFullError`
            where there is no room.
    """
    target = resolve_links(writable_path(str(path)))
    part = target.with_name(f".{target.name[:_SHOWN]}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.write_bytes(data)
        put_in_place(part, target)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)  # there only when something went wrong, Ctrl-C included


def write_error(path: str | Path, error: OSError, note: str = "") -> SinkError:
    """What to raise when a file cannot be written.

    Args:
        path: path of the file.
        error: what writing failed with.
        note: what became of the file, as the end of a sentence.
    """
    said = error.strerror or error
    free_mb = shutil.disk_usage(_existing(Path(path).absolute().parent)).free / 1e6
    free = f"{free_mb:.0f} MB are free on that disk"
    if not is_no_room(error):
        return SinkError(f"cannot write {path} ({said}){note}; check the folder, {free}")
    advice = "make room, or choose another disk"
    if error.errno == errno.EFBIG:
        advice = "files may not be larger there: write parts (?size=2GB), or choose another disk"
    return DiskFullError(f"no room to write {path} ({said}){note}; {free}; {advice}")


def is_no_room(error: BaseException) -> bool:
    """Whether a write failed because there is no room."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def put_in_place(part: Path, target: Path) -> None:
    """Renames a complete file to its final name, and notes on it that this program wrote it. Raises OSError."""
    mark_own(part)
    os.replace(part, target)


def mark_own(path: Path) -> None:
    """Notes on a complete file that this program wrote it. Raises OSError when it is not there."""
    about = path.stat()
    with suppress(OSError, AttributeError):  # not every file system, or system, keeps such notes
        os.setxattr(path, _MARK, _stamp(about))


def is_own(path: Path) -> bool:
    """Whether this program wrote a file, and nobody has changed it since. False where that cannot be told."""
    try:
        return os.getxattr(path, _MARK) == _stamp(path.stat())
    except (OSError, AttributeError):
        return False


def is_replaceable(path: Path, overwrite: bool) -> bool:
    """Whether nothing but a file that this program wrote, or with `overwrite` anything, would be replaced at a path."""
    try:
        return overwrite or not path.is_file() or is_own(path)
    except OSError:  # no file can have this name, as whoever writes it is told
        return True


def check_replaceable(path: Path, overwrite: bool) -> None:
    """Refuses to replace someone else's file.

    Args:
        path: place of a file that is about to be written.
        overwrite: replaces whatever is there.

    Raises:
        SinkError: there is a file that this program did not write.
    """
    if not is_replaceable(path, overwrite):
        raise SinkError(
            f"{str(path)!r} exists, and is not known as a result of an earlier run; choose another name, or replace it "
            "with --overwrite (overwrite=True)"
        )


def expand_path(text: str) -> Path:
    """The path that a text names, there or not, with ``~`` expanded.

    Raises:
        ValueError: no file can have that name, or it cannot be looked at: no such user, too long, a zero byte. The
            message is the reason alone.
    """
    path = Path(text)
    try:
        path = _expanduser(path)
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError((error.strerror if isinstance(error, OSError) else None) or str(error)) from error
    return path


def _expanduser(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # no such user: perhaps a file whose name begins so, as a shell would pass it on
        if path.exists():
            return path
        raise


def writable_path(text: str) -> Path:
    """The path that a text names, as `expand_path` finds it.

    Raises:
        SinkError: no file can have that name.
    """
    try:
        return expand_path(text)
    except ValueError as error:
        raise SinkError(f"{shown(text, 80)} is no path that can be written ({error}); choose another") from error


def read_bounded(path: str | Path, most_bytes: int) -> bytes:
    """Content of a file or a pipe; a device would never end.

    Raises:
        OSError: it is not there, or may not be read.
        ValueError: no file can have that name, it is a device, or larger than that.
    """
    path = expand_path(str(path))
    if path.is_char_device() or path.is_block_device():
        raise ValueError("it is a device, and no file")
    parts, size = [], 0
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):  # what is asked for is allocated, however small the file
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                raise ValueError(f"it is larger than {most_bytes >> 20} MiB")
    return b"".join(parts)


def resolve_links(path: str | Path) -> Path:
    """The path itself, or what a symbolic link in its place points to, there or not.

    Raises:
        SinkError: the link leads back to itself.
    """
    path = Path(path)
    if not path.is_symlink():
        return path
    found = Path(os.path.realpath(path))
    if found.is_symlink():
        raise SinkError(f"{str(path)!r} is a link that leads back to itself; remove it, or choose another name")
    return found


def _stamp(about: os.stat_result) -> bytes:
    return f"{about.st_size} {about.st_mtime_ns}".encode()
