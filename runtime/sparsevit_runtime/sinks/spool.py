"""Messages that wait until they can be sent: bounded, in memory, and where wanted on a disk."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import SinkError

_log = logging.getLogger(__name__)

#: Bytes of messages held in memory, at most.
MEMORY_BYTES = 16_000_000
#: Bytes of messages held on a disk, at most, unless told otherwise.
DISK_BYTES = 256_000_000
#: Files of a full spool: with the oldest goes about this part of it.
_SEGMENTS = 16
_SUFFIX = ".spool"


class Spool:
    """Messages in order, oldest first. A full one gives up the oldest, and counts them.

    Threads: `put` and the counts from any thread; all else from one, which alone touches the disk.

    Attributes:
        dropped: messages given up because it was full.
    """

    def __init__(self, folder: Path | None = None, disk_bytes: int = DISK_BYTES, memory_bytes: int = MEMORY_BYTES):
        """
        Args:
            folder: of messages that memory has no room for, and of those that are left at the end; made when missing.
                Messages that an earlier spool left there come first. None for memory alone.
            disk_bytes: size of the folder at most.
            memory_bytes: size of the messages in memory at most.

        Raises:
            SinkError: the folder cannot be used, or another spool uses it.
        """
        self.dropped = 0
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._messages: deque[tuple[int, bytes]] = deque()
        self._size = self._number = 0
        self._peeked: int | _Place = -1
        self._disk = None if folder is None else _Disk(folder, disk_bytes)

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._messages) + (0 if self._disk is None else self._disk.count)

    def put(self, message: bytes) -> None:
        """Takes a message, without a line break in it. Waits for nothing but a lock that is held for moments."""
        with self._lock:
            self._messages.append((self._number, message))
            self._number += 1
            self._size += len(message)
            while self._size > self._memory_bytes and len(self._messages) > 1:
                self._size -= len(self._messages.popleft()[1])
                self.dropped += 1

    def peek(self, most: int) -> list[bytes]:
        """The oldest messages, which stay until `commit`."""
        while self._disk is not None and self._disk.count:
            found, self._peeked = self._disk.peek(most)
            if found:
                return found
            lost = self._disk.forget_oldest()  # somebody removed or emptied the file
            with self._lock:
                self.dropped += lost
        with self._lock:
            taken = [self._messages[i] for i in range(min(most, len(self._messages)))]
        self._peeked = taken[-1][0] if taken else -1
        return [message for _, message in taken]

    def commit(self) -> None:
        """Forgets the messages that were peeked at."""
        last, self._peeked = self._peeked, -1
        if not isinstance(last, int):
            if self._disk is not None:
                self._disk.commit(last)
            return
        with self._lock:
            while self._messages and self._messages[0][0] <= last:
                self._size -= len(self._messages.popleft()[1])

    def relieve(self, *, all: bool = False) -> None:
        """Moves messages from memory to the disk, where there is one.

        Args:
            all: every message; without, only when memory is half full.
        """
        if self._disk is None or (not all and self._size < self._memory_bytes // 2):
            return
        with self._lock:
            moved, self._messages = self._messages, deque()
            self._size = 0
        dropped = self._disk.append([message for _, message in moved])
        with self._lock:
            self.dropped += dropped

    def close(self) -> None:
        """Keeps what is left on the disk; without one it is dropped, and counted."""
        self.relieve(all=True)
        with self._lock:
            self.dropped += len(self._messages)
            self._messages.clear()
            self._size = 0
        if self._disk is not None:
            self._disk.close()


class _Place:
    """Where reading has come to in a segment: so many messages and bytes further."""

    def __init__(self, segment: _Segment, messages: int, size: int) -> None:
        self.segment, self.messages, self.size = segment, messages, size


class _Segment:
    """A file of messages, one a line; `read` bytes of it are done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = self.read = self.size = 0


class _Disk:
    """Segments in a folder, named by a number that counts on."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._folder = folder
        self._file: BinaryIO | None = None  # of the newest segment
        self._complained = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._segments = deque(self._found(path) for path in sorted(folder.glob(f"*{_SUFFIX}")))
        except BlockingIOError as error:
            raise SinkError(f"the spool {str(folder)!r} is in use by another sink; give each one of its own") from error
        except OSError as error:
            raise SinkError(f"the spool {str(folder)!r} cannot be used ({error.strerror}); choose another") from error
        self._next = 1 + max((int(each.path.stem) for each in self._segments if each.path.stem.isdigit()), default=0)

    @property
    def count(self) -> int:
        return sum(segment.count for segment in self._segments)

    def append(self, messages: list[bytes]) -> int:
        """Writes messages behind all others.

        Returns:
            Messages lost: older ones that there was no more room for, or those that could not be written.
        """
        for i, message in enumerate(messages):
            try:
                self._write(message + b"\n")
            except OSError as error:
                if not self._complained:
                    _log.warning("the spool %s takes no more (%s): messages are lost", self._folder, error.strerror)
                self._complained = True
                self._end_segment()
                return len(messages) - i + self._trim()
        self._complained = False
        with suppress(OSError):
            if self._file is not None:
                self._file.flush()
        return self._trim()

    def peek(self, most: int) -> tuple[list[bytes], _Place]:
        segment = self._segments[0]
        if self._file is not None and segment is self._segments[-1]:
            self._end_segment()
        lines: list[bytes] = []
        with suppress(OSError), segment.path.open("rb") as file:
            file.seek(segment.read)
            lines = [file.readline() for _ in range(min(most, segment.count))]
        lines = [line for line in lines if line.endswith(b"\n")]
        return [line[:-1] for line in lines], _Place(segment, len(lines), sum(map(len, lines)))

    def commit(self, place: _Place) -> None:
        segment = place.segment
        if not self._segments or self._segments[0] is not segment:
            return  # it has been dropped since
        segment.read += place.size
        segment.count -= place.messages
        if segment.count <= 0:
            self.forget_oldest()

    def forget_oldest(self) -> int:
        """Removes the oldest segment; how many messages it still had."""
        segment = self._segments.popleft()
        if not self._segments:
            self._end_segment()
        with suppress(OSError):
            os.unlink(segment.path)
        return max(0, segment.count)

    def close(self) -> None:
        self._end_segment()
        self._lock.close()

    def _found(self, path: Path) -> _Segment:
        segment = _Segment(path)
        with path.open("rb") as file:  # a kill may have left half a line, which is not counted
            while block := file.read(1 << 20):
                segment.count += block.count(b"\n")
                segment.size += len(block)
        return segment

    def _write(self, line: bytes) -> None:
        if self._file is None:
            segment = _Segment(self._folder / f"{self._next:012}{_SUFFIX}")
            self._file = segment.path.open("xb")
            self._next += 1
            self._segments.append(segment)
        self._file.write(line)
        segment = self._segments[-1]
        segment.count += 1
        segment.size += len(line)
        if segment.size >= self._most_bytes // _SEGMENTS:
            self._end_segment()

    def _end_segment(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def _trim(self) -> int:
        """Removes the oldest segments until the folder fits; how many messages they had."""
        lost = 0
        while sum(segment.size for segment in self._segments) > self._most_bytes and len(self._segments) > 1:
            lost += self.forget_oldest()
        return lost
