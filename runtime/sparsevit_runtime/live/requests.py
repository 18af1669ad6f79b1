"""What is asked of the next frame of a session, while callers and a governor change it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ArgumentError
from ..windows.level import Level
from ..windows.plan import PlanLike
from .governor import Governor

if TYPE_CHECKING:
    from ..runner import Request, Runner


class Requests:
    """The request in force.

    Threads: safe from any thread. A change is one assignment: whoever submits a frame finds the old request or the new
    one, whole.

    Attributes:
        governor: chooses the level; None where callers do.
        current: request that the next frame is stamped with.
    """

    def __init__(
        self,
        runner: Runner,
        level: PlanLike | Level | None,
        governor: Governor | None,
        activity: bool,
        threshold: float,
    ) -> None:
        """
        Args:
            runner: runner of the model.
            level: share that is computed, in any form `Plan.parse` reads.
            governor: chooses the level in place of `level`.
            activity: results tell which windows were computed.
            threshold: least score of a detection.

        Raises:
            PlanError: the level does not fit the model.
            ArgumentError: a level and a governor.
        """
        if governor is not None and level is not None:
            raise ArgumentError("a session has a level or a governor that chooses it, not both; leave one out")
        self._runner = runner
        self.governor = governor
        self._activity, self._threshold = activity, threshold
        self._choosing = threading.Lock()
        self.current = self._made(level) if governor is None else self._made(governor.level, governor.reason)

    def choose(self, level: PlanLike | Level | None) -> None:
        """Another level from the next frame on; a governor is switched off.

        Raises:
            PlanError: it does not fit the model; the one in force stays.
        """
        with self._choosing:
            request = self._made(level)
            if self.governor is not None:
                self.governor.enabled = False
            self.current = request

    @property
    def activity(self) -> bool:
        """Whether results tell which windows were computed."""
        return self._activity

    @activity.setter
    def activity(self, activity: bool) -> None:
        with self._choosing:
            self._activity = activity
            self.current = self._made(self.current.level, self.current.reason)

    def observe(self, request: Request, latency_ms: float, inference_ms: float) -> None:
        """Has the governor told what a frame cost, and asks for what it chooses then.

        Args:
            request: request that the frame was run with.
            latency_ms, inference_ms: see `Governor.observe`.
        """
        governor = self.governor
        if governor is None or not governor.enabled:
            return
        governor.observe(request.level, latency_ms, inference_ms, time.monotonic())
        with self._choosing:
            chosen = (governor.level, governor.reason) != (self.current.level, self.current.reason)
            if chosen and governor.enabled:
                self.current = self._made(governor.level, governor.reason)

    def _made(self, level: PlanLike | Level | None, reason: str = "") -> Request:
        runner = self._runner
        request = runner.request(runner.level(level), activity=self._activity, threshold=self._threshold)
        return replace(request, reason=reason)
