"""Cameras that send JPEGs over one http answer without end: multipart/x-mixed-replace."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from ..errors import ImageError, SourceError
from ..images.image_files import decode_image, is_truncated
from .base import Frame, Source, Timeouts
from .clock import WallClock
from .http_address import HttpAnswer
from .pictures import DamageLog

#: Bytes of a part, and of its headers, that are read at most: what has more is no camera.
_LONGEST_PART = 64 * 2**20
_LONGEST_HEADERS = 2**16
_CHUNK = 2**16
_JPEG = b"\xff\xd8"
_DASH = ord("-")
_HEADERS_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length:\s*([0-9]{1,9})\s*$", re.IGNORECASE | re.MULTILINE)
#: Parts in a row that are no pictures; with so many the stream is none of pictures.
_MOST_FAILURES = 50


class _Span(NamedTuple):
    """Where something stands in a buffer."""

    start: int
    end: int


def _span_of(pattern: re.Pattern[bytes], data: bytearray, at: int) -> _Span | None:
    found = pattern.search(data, at)
    return None if found is None else _Span(*found.span())


class _Boundary:
    """What stands between two parts: a line of dashes and the token, and two dashes more behind the last."""

    def __init__(self, token: bytes) -> None:
        # A pattern that begins with letters is found a hundred times as fast as one that begins with choices.
        self._pattern = re.compile(b"--" + re.escape(token) + rb"(?:--)?[ \t]*\r?\n")

    def search(self, data: bytearray, at: int, end: int = sys.maxsize) -> _Span | None:
        """The next one from a place on, with the end of the line before it."""
        found = self._pattern.search(data, at, end)
        if found is None:
            return None
        start = found.start()
        while start > at and data[start - 1] == _DASH:
            start -= 1
        for mark in b"\n\r":
            if start > at and data[start - 1] == mark:
                start -= 1
            else:
                break
        return _Span(start, found.end())


class Multipart:
    """The parts of a multipart body, in order.

    Cameras differ in what they send: a length that is missing, or that of the picture before it was cut short, a
    boundary with dashes of its own or none stated. What counts is where the next boundary stands. A JPEG that is whole
    is given out at once, without the next one's boundary.
    """

    def __init__(self, answer: HttpAnswer) -> None:
        """
        Args:
            answer: answer whose body is read.
        """
        self._answer = answer
        self._buffer = bytearray()
        stated = re.search(r'boundary\s*=\s*(?:"([^"]*)"|([^\s;]+))', answer.parameters, re.IGNORECASE)
        token = (stated[1] or stated[2] or "").strip("-") if stated else ""
        self._boundary = _Boundary(token.encode("latin-1", "replace")) if token else None

    def next(self) -> bytes | None:
        """The next part's body; None behind the last one.

        Raises:
            SourceError: the link broke, or this is no multipart body.
        """
        if not self._to_headers():
            return None
        while len(self._buffer) < 2 and self._more():
            pass
        blank = re.match(rb"\r?\n", self._buffer)
        headers = self._take(blank.end()) if blank else self._take_until(_HEADERS_END, _LONGEST_HEADERS)
        if headers is None:
            return None
        length = _LENGTH.search(headers)
        return self._part(int(length[1]) if length else None)

    def _to_headers(self) -> bool:
        """Goes behind the next boundary; False at the end."""
        if self._boundary is None:
            line = self._take_until(re.compile(rb"--[^\r\n]+\r?\n"), _LONGEST_HEADERS, keep=True)
            if line is None:
                return False
            self._boundary = _Boundary(line.strip(b"-\r\n"))
            return True
        found = self._find(self._boundary.search, 0)
        if found is None:
            return False
        last = self._buffer[found.start : found.end].rstrip().endswith(b"--")
        del self._buffer[: found.end]
        return not last or bool(self._buffer) or self._more()

    def _part(self, length: int | None) -> bytes | None:
        boundary = self._boundary
        if boundary is None:
            return None
        if length is not None and length <= _LONGEST_PART:
            while len(self._buffer) < length and self._more():
                pass
            inside = boundary.search(self._buffer, 0, length)
            if inside is None and len(self._buffer) >= length:
                return self._take(length)
        at = 0
        while True:
            found = boundary.search(self._buffer, at)
            if found is not None:
                return self._take(found.start)
            if length is None and self._is_whole():
                return self._take(len(self._buffer))
            at = max(0, len(self._buffer) - 256)
            if len(self._buffer) > _LONGEST_PART:
                raise SourceError(f"{self._answer.name} sends a part of more than {_LONGEST_PART} bytes: no camera")
            if not self._more():
                return self._take(len(self._buffer)) or None

    def _is_whole(self) -> bool:
        """Whether what is held is a JPEG to its end mark."""
        end = self._buffer[-16:].rstrip(b"\r\n")
        return end.endswith(b"\xff\xd9") and self._buffer.startswith(_JPEG) and not is_truncated(bytes(self._buffer))

    def _find(
        self, search: Callable[[bytearray, int], _Span | None], at: int, most: int = _LONGEST_PART
    ) -> _Span | None:
        while (found := search(self._buffer, at)) is None:
            if len(self._buffer) > most:
                raise SourceError(f"{self._answer.name} sends no multipart pictures, as it says it does")
            at = max(0, len(self._buffer) - 256)
            if not self._more():
                return None
        return found

    def _take_until(self, pattern: re.Pattern[bytes], most: int, keep: bool = False) -> bytes | None:
        found = self._find(partial(_span_of, pattern), 0, most)
        if found is None:
            return None
        taken = bytes(self._buffer[found.start if keep else 0 : found.end])
        del self._buffer[: found.end]
        return taken

    def _take(self, length: int) -> bytes:
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    def _more(self) -> bool:
        got = self._answer.read(_CHUNK)
        self._buffer += got
        return bool(got)


class MjpegSource(Source):
    """Pictures of a camera that sends them over http, over one connection, stamped with the wall clock at arrival.

    Pictures that are cut short or do not decode are left out and counted.

    Args:
        answer: answer of the camera; the source owns it from here on.
        timeouts: longest wait for a picture.

    Raises:
        SourceError: no picture comes. From `read`: the stream broke.
    """

    live = True

    def __init__(self, answer: HttpAnswer, timeouts: Timeouts) -> None:
        self.name = answer.name
        self._answer = answer
        self._parts = Multipart(answer)
        self._timeouts = timeouts
        self._clock = WallClock()
        self._damage = DamageLog(self.name)
        self._index = 0
        self._closed = False
        self._pending: Frame | None = None
        try:
            self._pending = self._next()
        except SourceError:
            self.close()
            raise
        if self._pending is None:
            raise SourceError(f"{self.name} was closed while it was opened; open it again")

    def read(self) -> Frame | None:
        if self._closed:
            return None
        frame, self._pending = self._pending or self._next(), None
        return None if self._closed else frame

    def close(self) -> None:
        self._closed = True
        self._answer.close()
        self._damage.finish()

    def _next(self) -> Frame | None:
        failures, until = 0, time.monotonic() + self._timeouts.read_s
        while True:
            try:
                data = self._parts.next()
            except SourceError:
                if self._closed:
                    return None
                self.close()
                raise
            arrived_ns = time.time_ns()
            if self._closed:
                return None
            if data is None:
                self.close()
                raise SourceError(f"{self.name} hung up after {self._index} frames; check the camera and the network")
            try:
                image = self._decoded(data)
            except ImageError as error:
                failures += 1
                if failures >= _MOST_FAILURES or time.monotonic() > until:
                    self.close()
                    raise SourceError(
                        f"{self.name} sends {failures} parts in a row that are no pictures; the last: {error}"
                    ) from error
                continue
            if failures:
                self._index += failures
                self._damage.add(failures, self._index)
                self.damaged = self._damage.count
                failures = 0
            self._index += 1
            if image is None:
                continue
            self.size_wh = self.size_wh or (image.shape[1], image.shape[0])
            return Frame(image, self._index - 1, self._clock.stamp(arrived_ns))

    def _decoded(self, data: bytes) -> np.ndarray | None:
        """A picture; None for one that is whole, as far as it can be told, and not wanted. Raises ImageError."""
        if self.wants is None or is_truncated(data) or self.wants():
            return decode_image(data)
        return None
