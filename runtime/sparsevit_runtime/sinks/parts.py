"""The files of a recording: one, or parts of limited length, none of which is ever written over."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import SinkError
from ..files import check_replaceable, is_own, mark_own, put_in_place, resolve_links
from .paths import check_folder, check_target, part_path

#: What became of a recording that could not go on, for messages.
KEPT = "; what was recorded until then is kept"


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a recording goes on in a new file.

    Attributes:
        every_s: seconds that a part lasts; None for any.
        size_bytes: bytes after which a part ends; None for any.
        keep: parts kept, the newest; None for all.

    Raises:
        SinkError: parts are to be kept, and nothing says when they begin.
    """

    every_s: float | None = None
    size_bytes: int | None = None
    keep: int | None = None

    def __post_init__(self) -> None:
        if self.keep is not None and not self.numbered:
            raise SinkError(f"keep={self.keep} needs parts; say when they begin: every=10m or size=500MB")

    @property
    def numbered(self) -> bool:
        """The first part has a number, too."""
        return self.every_s is not None or self.size_bytes is not None

    def at_most(self, every_s: float) -> Rotation:
        """The same with parts of no more seconds."""
        return replace(self, every_s=every_s if self.every_s is None else min(every_s, self.every_s))


class Parts:
    """Places of a recording's files, one after the other.

    Without rotation the first is the path itself. All others are ``out-0001.mp4`` and so on: the next number that no
    file in the folder has.

    What is made from files that are still there is written under a temporary name, hidden, and renamed when it is
    complete. What comes from a live source stands under its own name from the first byte.

    Args:
        path: path of the file.
        overwrite: replaces a file that this program did not write.
        live: what is written cannot be made again.
        rotation: limits of a part.

    Raises:
        SinkError: the folder is missing or cannot be written, or the file may not be replaced.
    """

    def __init__(self, path: Path, overwrite: bool, live: bool, rotation: Rotation) -> None:
        self._path = resolve_links(path)
        self._shown = path
        self._overwrite, self._live = overwrite, live
        self.rotation = rotation
        self._names: list[str] = []
        self._files: list[Path] = []
        self._current: Path | None = None
        self._begun_ns = 0
        if rotation.numbered:
            check_folder(self._path.parent)
        else:
            check_target(self._path, overwrite)

    @property
    def written(self) -> tuple[str, ...]:
        """Names of the files that are in place, oldest first."""
        return tuple(self._names)

    @property
    def current(self) -> Path | None:
        """Place where the part under way is written."""
        return self._current

    def begin(self, at_ns: int) -> Path:
        """Begins a part.

        Args:
            at_ns: time on the recording's clock, nanoseconds.

        Returns:
            Where to write it: an empty file, or for what is not live no file yet.

        Raises:
            SinkError: there is a file that may not be replaced.
            OSError: the file cannot be made.
        """
        self._begun_ns = at_ns
        self._current = self._make() if self._live else part_path(self._path)
        if self._live:
            self._enter(self._current)
            self._prune()
        return self._current

    def is_due(self, at_ns: int, size: int) -> bool:
        """Whether the part under way has reached a limit.

        Args:
            at_ns: time on the recording's clock, nanoseconds.
            size: bytes that the part has, or would have.
        """
        every_s, size_bytes = self.rotation.every_s, self.rotation.size_bytes
        return (every_s is not None and at_ns - self._begun_ns >= every_s * 1e9) or (
            size_bytes is not None and size >= size_bytes
        )

    def complete(self) -> None:
        """The part under way is whole. Raises OSError when it cannot be put in place."""
        part, self._current = self._current, None
        if part is None:
            return
        if self._live:
            mark_own(part)
            return
        try:
            target = self._path if self._is_first() else self._free()
            put_in_place(part, target)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._enter(target)
        self._prune()

    def give_up(self) -> None:
        """Removes the part under way, unless it comes from a live source and has something in it."""
        part, self._current = self._current, None
        if part is None or (self._live and part.exists() and part.stat().st_size):
            return
        part.unlink(missing_ok=True)
        if self._live:
            self._files.pop()
            self._names.pop()

    def _is_first(self) -> bool:
        return not self._files and not self.rotation.numbered

    def _make(self) -> Path:
        """An empty file of the next name."""
        if self._is_first():
            check_replaceable(self._path, self._overwrite)
            self._path.unlink(missing_ok=True)
            self._path.touch(exist_ok=False)
            return self._path
        while True:
            path = self._free()
            with suppress(FileExistsError):  # somebody else was faster
                path.touch(exist_ok=False)
                return path

    def _free(self) -> Path:
        number = max((number for number, _ in self._numbered()), default=0 if self.rotation.numbered else 1) + 1
        return self._path.with_name(f"{self._path.stem}-{number:04d}{self._path.suffix}")

    def _numbered(self) -> list[tuple[int, Path]]:
        """Parts in the folder with their numbers, those of earlier runs, too."""
        pattern = re.compile(rf"{re.escape(self._path.stem)}-([0-9]{{4,9}}){re.escape(self._path.suffix)}")
        with os.scandir(self._path.parent) as entries:
            matches = [(pattern.fullmatch(entry.name), Path(entry.path)) for entry in entries]
        return sorted((int(match[1]), path) for match, path in matches if match)

    def _enter(self, path: Path) -> None:
        self._files.append(path)
        self._names.append(str(self._shown if path == self._path else path))

    def _prune(self) -> None:
        """Removes the oldest parts that are more than are kept: this recording's, and those of earlier runs that nobody
        has changed since."""
        keep = self.rotation.keep
        if keep is None:
            return
        parts = [path for _, path in self._numbered() if path in self._files or is_own(path)]
        for path in parts[: max(0, len(parts) - keep)]:
            path.unlink(missing_ok=True)
            if path in self._files:
                place = self._files.index(path)
                del self._files[place], self._names[place]
