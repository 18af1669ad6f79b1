"""The files below a folder of this machine, each once, whatever links there are."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator


def walk_files(top: str | os.PathLike[str], skip: tuple[str, ...] = (".", "_")) -> Iterator[str]:
    """Files in a folder and its subfolders, as paths that begin with `top`, in no order.

    Links are followed, and no folder is gone through twice: where links lead to one, or back up, its files have the
    names without links, if they have such below `top`. What is neither a file nor a folder, such as a pipe that would
    be waited for, is left out. A folder that may not be listed stands for what is in it, so that somebody is told.

    Args:
        top: the folder.
        skip: beginnings of names that are left out.
    """
    visited: set[tuple[int, int]] = set()
    linked = deque([os.fspath(top)])
    while linked:
        here = [linked.popleft()]
        while here:
            folder = here.pop()
            try:
                about = os.stat(folder)
                if (about.st_dev, about.st_ino) in visited:
                    continue
                visited.add((about.st_dev, about.st_ino))
                with os.scandir(folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                yield folder
                continue
            for entry in found:
                if entry.name.startswith(skip):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    here.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.path
                elif entry.is_symlink():
                    if _leads_to_folder(entry):
                        linked.append(entry.path)
                    elif not os.path.exists(entry.path) or os.path.isfile(entry.path):
                        yield entry.path  # whoever reads it says that it leads nowhere


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
