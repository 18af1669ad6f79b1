"""What this room asks of a running session; `live.Session` is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol

import numpy as np

from ...tasks import Result
from ...windows.level import Level


class StatusLike(Protocol):
    """A state since when."""

    @property
    def state(self) -> Enum: ...
    @property
    def since_ns(self) -> int: ...


class StageLike(Protocol):
    """Times of one stage: frames, and milliseconds of all together."""

    @property
    def count(self) -> int: ...
    @property
    def total_ms(self) -> float: ...


class SourceLike(Protocol):
    """A source's counts at one moment."""

    @property
    def captured(self) -> int: ...
    @property
    def processed(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def reconnects(self) -> int: ...
    @property
    def last_frame_ns(self) -> int | None: ...
    @property
    def stages(self) -> Mapping[str, StageLike]: ...


class OutletLike(Protocol):
    """An outlet's counts at one moment."""

    @property
    def written(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def error(self) -> str: ...


class MetricsLike(Protocol):
    """A session's counts, by name."""

    @property
    def sources(self) -> Mapping[str, SourceLike]: ...
    @property
    def outlets(self) -> Mapping[str, OutletLike]: ...


class LiveSession(Protocol):
    """A session that is shown. All of it may be called from any thread.

    What else it may have, and is left out of the page where it has not:

    - `activity`: bool, may be set: results tell which windows were computed.
    - `draw`: function that draws the picture of a frame and its result.
    - `model_name`, `backend_name`: texts.
    - `governor`: a `Governor` or None.
    - `recorder`: a `Recorder` or None.
    """

    @property
    def level(self) -> Level: ...
    @level.setter
    def level(self, level: Any) -> None: ...
    @property
    def status(self) -> StatusLike: ...
    @property
    def sources(self) -> Mapping[str, StatusLike]: ...
    @property
    def metrics(self) -> MetricsLike: ...


class TargetLike(Protocol):
    """What a governor aims at: longest latency in milliseconds, frames per second, or both."""

    @property
    def latency_ms(self) -> float | None: ...
    @property
    def fps(self) -> float | None: ...


class Governor(Protocol):
    """Moves the level by itself while it is enabled; `reason` says why the level is what it is, `met` whether the
    target is. `changes` counts its steps ``up`` and ``down``. Whoever sets the session's level switches it off.
    """

    enabled: bool

    @property
    def reason(self) -> str: ...
    @property
    def met(self) -> bool: ...
    @property
    def target(self) -> TargetLike: ...
    @property
    def changes(self) -> Mapping[str, int]: ...


class Recorder(Protocol):
    """Starts and stops a recording."""

    @property
    def active(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


#: Draws the annotated picture of a frame, (H, W, 3) uint8 BGR, and its result.
Draw = Callable[[np.ndarray, Result], np.ndarray]
