"""From sources to outlets, alive: the handle that a program, a page and a test hold."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import as_kind, as_number, as_whole
from ..draw import draw_result
from ..errors import SessionError
from ..runner import Runner
from ..tasks import Result
from ..tracking import Follower, Tracking, tracking_of
from ..windows.level import Level
from ..windows.plan import PlanLike
from .capture import PreparedFrame
from .captures import Captures
from .channel import Channel
from .decoding import Decoding
from .delivery import Draw, Drawing
from .feeds import SourceLike
from .governor import Governor
from .inference import Answer, Inference, most_together
from .metrics import SessionMetrics
from .outlet import Outlet
from .outlets import Outlets
from .reconnect import Reconnect
from .recorder import Recorder
from .requests import Requests
from .scheduler import Scheduler
from .states import SessionState, SourceState, Status, Tracker

if TYPE_CHECKING:
    from typing_extensions import Self

#: Told the name of a source and its status, or None and that of the session.
StateListener = Callable[[str | None, Status[Any]], None]

_OVER = (SessionState.ENDED, SessionState.FAILED)
#: The end waits so long for captures that are about to return from their drivers.
_GRACE_S = 0.3


class Session:
    """Runs the frames of one or several sources through a model and hands the results to outlets, until it is stopped
    or every source has ended.

        source --> lane --\\
        source --> lane ----> scheduler --> backend --> decode --> outlets
        source --> lane --/

    Live sources never wait: a frame that is replaced in its lane is counted as dropped. Files lose none; whatever may
    block makes them wait. A source that fails ends alone, and the session with it when no other is left or went well;
    an outlet that fails ends alone unless it is essential or the only one. A frame that the backend fails on ends the
    session.

    Threads: a capture per source, inference, decoding, and one per outlet; a live source has a driver's besides. The
    handle may be used from any thread, from an outlet's, too. No thread waits for a driver: one that hangs is left
    behind.

    Attributes:
        recorder: what stops and starts the recorded videos of live sources; None where there are none.
    """

    def __init__(
        self,
        runner: Runner,
        sources: SourceLike | Mapping[str, SourceLike],
        outlets: Sequence[Outlet] = (),
        *,
        level: PlanLike | Level | None = None,
        activity: bool = False,
        threshold: float | None = None,
        draw: Draw = draw_result,
        limit: int | None = None,
        limit_each: int | None = None,
        reconnect: Reconnect | None = None,
        governor: Governor | None = None,
        max_age_ms: float | None = None,
        batch: int | None = None,
        track: bool | Tracking = False,
    ) -> None:
        """Opens the sources; nothing is read yet. The session closes them, also those that were open before.

        Args:
            runner: runner of the model.
            sources: sources by name, or one that is called as it names itself; see `open_feed`.
            outlets: receivers of the results; each belongs to this session alone.
            level: share that is computed, in any form `Plan.parse` reads; None for all windows, or the fixed plan of a
                fixed export.
            activity: results tell which windows were computed.
            threshold: least score of a detection; None for what the card says.
            draw: draws the picture of a frame and its result, in an outlet's thread, for those that want pictures.
            limit: frames run at most, all sources together; None for all.
            limit_each: frames run of each source at most; None for all.
            reconnect: rule by which live sources are opened anew; see `open_feed` for what None means.
            governor: chooses the level, frame by frame, in place of `level`.
            max_age_ms: frames of live sources that are older when the model is free are dropped; None for any age.
            batch: frames that run together at most, of those that are there at that moment. None for one of each
                source on a GPU, and for one on a CPU, where a batch takes as long as its frames one by one.
            track: objects keep their numbers from frame to frame, each source by itself; a `Tracking` says how, and
                where they are counted.

        Raises:
            PlanError: the level does not fit the model.
            ArgumentError: an argument of another type, a level and a governor, an age that is no number above 0, a
                batch or a limit below 1, or objects to track with a model that finds none.
            MissingDependencyError: what tracking needs is not installed.
            SourceError, FrameError: a source cannot be opened, or is none.
        """
        runner = as_kind(runner, Runner, "runner is that of a model (`model.runner`)")
        self._outlets = Outlets(outlets)
        if reconnect is not None:
            as_kind(reconnect, Reconnect, "reconnect is a `Reconnect`")
        for name, most in (("limit", limit), ("limit_each", limit_each)):
            if most is not None:
                as_whole(most, name, 1, sys.maxsize)
        oldest_s = None if max_age_ms is None else as_number(max_age_ms, "max_age_ms", 1e-3, 1e9) / 1e3
        self._runner = runner
        tracking = tracking_of(track)
        least = runner.least_score(threshold)
        follower = None if tracking is None else Follower(tracking, runner, least)
        least = least if follower is None else follower.threshold
        self._requests = Requests(runner, level, governor, activity, least)
        self._drawing = Drawing(draw, activity)
        self.recorder = Recorder.of(self._outlets.all)
        self._scheduler: Scheduler[PreparedFrame] = Scheduler(limit, limit_each=limit_each)
        self._answers: Channel[Answer] = Channel(0)
        most = most_together(runner, batch, len(sources) if isinstance(sources, Mapping) else 1)
        self._captures = Captures(sources, reconnect, runner, self._scheduler)
        levels = [self._requests.current.level] if governor is None else governor.levels
        self._inference = Inference(
            runner, self._scheduler, self._answers, lambda: self._requests.current, oldest_s, most, levels
        )
        self._decoding = Decoding(
            runner, self._answers, self._outlets.all, self._drawing, self._decoded_all, self._requests.observe, follower
        )
        self._tracker: Tracker[SessionState] = Tracker(SessionState.NEW)
        self._lock = threading.RLock()
        self._working = 0
        self._started = self._closed = self._finishing = False
        self._error: Exception | None = None
        self._ended = threading.Event()

    @property
    def level(self) -> Level:
        """How much is computed. May be set at any time, in any form `Plan.parse` reads, and holds from the next frame
        that is submitted; every result says its own. Setting it switches a governor off.

        Raises:
            PlanError: when set to what does not fit the model; the level in force stays.
        """
        return self._requests.current.level

    @level.setter
    def level(self, level: PlanLike | Level | None) -> None:
        self._requests.choose(level)

    @property
    def governor(self) -> Governor | None:
        """What chooses the level; its `enabled` may be set."""
        return self._requests.governor

    @property
    def activity(self) -> bool:
        """Whether results tell which windows were computed. May be set at any time, from the next frame on; pictures
        show the windows only when the session was made to."""
        return self._requests.activity

    @activity.setter
    def activity(self, activity: bool) -> None:
        self._requests.activity = activity

    @property
    def model_name(self) -> str:
        """Name of the model, as its card says."""
        return self._runner.card.name

    @property
    def backend_name(self) -> str:
        """Name of what runs it."""
        return self._runner.backend.name

    def draw(self, image: np.ndarray, result: Result) -> np.ndarray:
        """The picture of a frame and its result, as outlets get it. What an outlet was given is not drawn again.

        Args:
            image: (H, W, 3) uint8 BGR.
            result: result of that frame.

        Returns:
            (H, W, 3) uint8 BGR, to be read only.
        """
        return self._drawing.draw(image, result)

    @property
    def state(self) -> SessionState:
        return self._tracker.status.state

    @property
    def status(self) -> Status[SessionState]:
        """The state, since when, and why."""
        return self._tracker.status

    @property
    def sources(self) -> dict[str, Status[SourceState]]:
        """What every source is doing, by name."""
        return self._captures.statuses

    @property
    def error(self) -> Exception | None:
        """What the session failed with."""
        return self._error

    @property
    def metrics(self) -> SessionMetrics:
        """What was counted up to this moment."""
        return SessionMetrics(self._captures.metrics, self._outlets.metrics)

    def listen(self, listener: StateListener) -> None:
        """Has a listener told every change of a state from now on: the name of the source, or None for the session, and
        the new status. It is called in the thread of the change and must return soon."""
        self._tracker.listen(partial(listener, None))
        self._captures.listen(listener)

    def start(self) -> None:
        """Begins to read.

        Raises:
            SessionError: it was started or closed before.
        """
        if not self._tracker.change(SessionState.RUNNING, unless=(SessionState.STOPPING, *_OVER)):
            raise SessionError(f"this session is {self.state.value}; make a new one for every start")
        with self._lock:
            if self._closed:
                return
            self._started = True
            self._working = 1 + self._outlets.start(self._outlet_ended, self.stop)
            self._decoding.start()
            self._inference.start()
            self._captures.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until the session has ended and the outlets have written what they hold.

        Args:
            timeout_s: longest wait in seconds; None for any.

        Returns:
            Whether it has ended.

        Raises:
            SessionError: it was not started.
            Exception: what it failed with: an error of the backend, of the last source, or of an outlet.
        """
        if self.state is SessionState.NEW:
            raise SessionError("this session was not started; nothing will end it")
        if not self._ended.wait(timeout_s):
            return False
        if self._error is not None:
            raise self._error
        return True

    def stop(self) -> None:
        """Takes no new frames; those in the backend are finished and written, those that wait for it are dropped.
        Waits for nothing, safe to repeat; `wait` tells when it is done."""
        if not self._started:
            self.close()
            return
        self._tracker.change(SessionState.STOPPING, unless=_OVER)
        self._scheduler.end()
        self._captures.stop()

    def close(self) -> None:
        """Ends at once: whatever is under way is dropped. Waits for the run in the backend and for the sinks' writes in
        progress, so that both may be closed afterwards, but for no driver. Safe to repeat."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._started:
            self._tracker.change(SessionState.STOPPING, "closed", unless=_OVER)
            self._scheduler.end()
            self._answers.close()
            self._outlets.abandon()
        self._captures.stop()
        self._inference.join()
        self._decoding.join()
        self._outlets.join()
        self._finish()

    def __enter__(self) -> Self:
        """Starts the session, unless that was done."""
        if self.state is SessionState.NEW:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _outlet_ended(self, outlet: Outlet) -> None:
        if self._outlets.is_the_end(outlet):
            self._error = self._error or outlet.error
            self.stop()
        self._part_ended()

    def _decoded_all(self, error: Exception | None) -> None:
        self._error = self._error or error
        self._outlets.close(self._error)
        self._part_ended()

    def _part_ended(self) -> None:
        with self._lock:
            self._working -= 1
            last = self._working == 0
        if last:
            self._finish()

    def _finish(self) -> None:
        """The end: by the last thread that works, or by `close`, whoever is first."""
        with self._lock:
            first, self._finishing = not self._finishing, True
        if not first:
            self._ended.wait(2 * _GRACE_S)
            return
        self._inference.join()
        self._captures.finish(time.monotonic() + _GRACE_S)
        self._drawing.forget()
        state = SessionState.ENDED if self._error is None else SessionState.FAILED
        self._tracker.change(state, "" if self._error is None else " ".join(str(self._error).split()), unless=_OVER)
        self._ended.set()
