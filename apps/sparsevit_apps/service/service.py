"""The loop of a service: sessions, one after the other, as signals and the configuration want them."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from sparsevit_runtime import Model, Session
from sparsevit_runtime.errors import SourceError, SourceLostError, SparseViTError
from sparsevit_runtime.live.governor import Governor
from sparsevit_runtime.live.states import SessionState, SourceState, Status

from ..memory import Upkeep, settle
from ..running import warm_up
from ..signals import Terminated
from . import parts
from .config import GovernorConfig, ModelConfig, ServiceConfig, load_config
from .notify import notify

_log = logging.getLogger(__name__)

#: Longest wait for frames under way when a session ends, seconds.
_END_S = 5.0
_TROUBLE = (SourceState.STALLED, SourceState.LOST)


class Signals:
    """SIGHUP, SIGTERM and Ctrl-C as events, so that nothing is interrupted by them. A second Ctrl-C interrupts.

    Attributes:
        events: numbers of signals that came; 0 is no signal and wakes whoever waits.
        patient: SIGTERM and Ctrl-C wait to be taken from the events; before, while nothing is recorded yet, they end
            whatever is under way, as the building of an engine.
    """

    def __init__(self) -> None:
        self.events: SimpleQueue[int] = SimpleQueue()
        self.patient = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """While this lasts, in the main thread."""
        numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._take) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def next(self) -> int:
        """The number of the next signal; 0 when something has changed, or nothing for a while."""
        try:
            return self.events.get(timeout=1.0)
        except Empty:
            return 0

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if not self.patient and number != signal.SIGHUP:
            raise stopped_by(number)
        self.events.put(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)


def stopped_by(number: int) -> KeyboardInterrupt:
    """The exception that says which signal ended it."""
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)


@dataclass
class _Running:
    """What runs now."""

    config: ServiceConfig
    model: Model
    governor: Governor | None
    sinks: list[parts.OpenSink]
    session: Session


class Service:
    """Runs a configuration until its sources have ended or somebody stops it, and changes to another on the way.

    A new configuration is read, and its model and levels are tried, before anything is ended: where that fails, all
    goes on as it was. Where only the sparsity has changed, only the level is set. Otherwise the session ends cleanly
    and a new one begins; sinks that are no recordings stay open where nothing about them has changed.

    Threads: one, the main thread, which waits for signals.
    """

    def __init__(self, path: Path, signals: Signals) -> None:
        """
        Args:
            path: path of the configuration.
            signals: signals, handled already.
        """
        self._path = path
        self._signals = signals
        self._governors: tuple[ModelConfig, GovernorConfig, Governor | None] | None = None

    def run(self, config: ServiceConfig) -> None:
        """Runs until the end.

        Raises:
            Terminated, KeyboardInterrupt: it was stopped.
            SourceLostError: the live sources are gone for good.
            SparseViTError: it cannot begin, or not go on.
        """
        model = parts.load_model(config.model)
        running: _Running | None = None
        upkeep = Upkeep()
        try:
            parts.check_levels(model, config)
            running = self._begin(config, model, [])
            notify("READY=1")
            while True:
                number = self._signals.next()
                upkeep.look()
                if number == signal.SIGHUP:
                    running = self._reload(running)
                    model = running.model
                elif number:
                    _log.info("stopping on %s", signal.Signals(number).name)
                    raise stopped_by(number)
                elif self._is_over(running):
                    return
        finally:
            notify("STOPPING=1")
            if running is not None:
                self._end(running, [])
            model.close()

    def _begin(self, config: ServiceConfig, model: Model, kept: list[parts.OpenSink]) -> _Running:
        governor = self._governor(config, model)
        level = None if governor is not None else parts.level_of(model, config.model.sparsity)
        inference_ms = warm_up(model, governor.level if governor is not None else level)
        self._signals.patient = True
        sources = parts.open_sources(config)
        session: Session | None = None
        sinks: list[parts.OpenSink] = []
        try:
            sinks = parts.open_sinks(config, sources, inference_ms, kept)
            session = Session(
                model.runner,
                sources,
                [sink.outlet() for sink in sinks],
                level=level,
                threshold=config.model.threshold,
                governor=governor,
                max_age_ms=config.governor.max_age_ms,
                track=False if config.tracking is None else config.tracking.tracking,
            )
            for each in sinks:
                each.sink.attach(session)
            session.listen(self._tell)
            settle()
            session.start()
        except SparseViTError:
            for source in sources.values():
                source.close()
            for each in sinks:
                if each.sink not in [other.sink for other in kept]:
                    each.close()
            raise
        _log.info(
            "%s runs on %s %s: %s to %s",
            model.card.name, model.backend.name, model.backend.device, ", ".join(sources),
            ", ".join(each.name for each in sinks),
        )  # fmt: skip
        return _Running(config, model, governor, sinks, session)

    def _governor(self, config: ServiceConfig, model: Model) -> Governor | None:
        """The governor, which is measured once as long as model and target stay the same."""
        key = config.model, config.governor.model_copy(update={"max_age_ms": None})
        if self._governors is None or self._governors[:2] != key:
            self._governors = (*key, parts.make_governor(model, config.governor))
        return self._governors[2]

    def _end(self, running: _Running, kept: list[parts.OpenSink]) -> None:
        """Ends a session with all that is under way, and completes its sinks but those that are kept."""
        running.session.stop()
        try:
            if not running.session.wait(_END_S):
                _log.warning("frames under way did not end in %g s and are left", _END_S)
        except Exception as error:
            # Told by whoever is told of the end; here something else ends it.
            _log.info("the session ended with: %s", error)
        running.session.close()
        for each in running.sinks:
            if each not in kept:
                each.close()

    def _is_over(self, running: _Running) -> bool:
        """Whether the session has ended; raises what it failed with."""
        if running.session.state not in (SessionState.ENDED, SessionState.FAILED):
            return False
        try:
            running.session.wait()
        except SourceError as error:
            was_there = any(each.captured for each in running.session.metrics.sources.values())
            if was_there and not isinstance(error, SourceLostError):
                raise SourceLostError(str(error)) from error
            raise
        _log.info("all sources have ended")
        return True

    def _reload(self, running: _Running) -> _Running:
        """Changes to what the file says now; where it means nothing, goes on as before."""
        notify("RELOADING=1")
        try:
            return self._change(running, load_config(self._path))
        except SparseViTError as error:
            if running.session.state in (SessionState.ENDED, SessionState.FAILED):
                raise
            for line in str(error).splitlines():
                _log.error("not reloaded, everything goes on as it was: %s", line)
            return running
        finally:
            notify("READY=1")

    def _change(self, running: _Running, config: ServiceConfig) -> _Running:
        old = running.config
        in_trouble = self._in_trouble(running)
        if config == old and not in_trouble:
            _log.info("reloaded: nothing has changed")
            return running
        same_model = config.without_level().model == old.without_level().model
        model = running.model if same_model else parts.load_model(config.model)
        try:
            parts.check_levels(model, config)
        except SparseViTError:
            if not same_model:
                model.close()
            raise
        if config.without_level() == old.without_level() and not in_trouble:
            running.session.level = parts.level_of(model, config.model.sparsity)
            running.config = config
            _log.info("reloaded: the level is %.0f%% pruned", 100 * (1 - running.session.level.window_share))
            return running
        return self._restart(running, config, model)

    def _in_trouble(self, running: _Running) -> bool:
        """Whether a source or a sink has ended, which a new session may bring back."""
        over = (SourceState.LOST, SourceState.ENDED)
        gone = any(status.state in over for status in running.session.sources.values())
        return gone or any(outlet.error for outlet in running.session.metrics.outlets.values())

    def _restart(self, running: _Running, config: ServiceConfig, model: Model) -> _Running:
        failed = {name for name, outlet in running.session.metrics.outlets.items() if outlet.error}
        kept = [
            each
            for each in running.sinks
            if each.outlasts and each.name not in failed and each.config in config.sinks.values()
        ]
        self._end(running, kept)
        try:
            begun = self._begin(config, model, kept)
        except SparseViTError as error:
            if model is not running.model:
                model.close()
            _log.error("not reloaded, going back to what was: %s", error)
            return self._begin(running.config, running.model, kept)
        for each in kept:
            if each.sink not in [other.sink for other in begun.sinks]:
                each.close()
        if model is not running.model:
            running.model.close()
        _log.info("reloaded")
        return begun

    def _tell(self, source: str | None, status: Status[Any]) -> None:
        """Logs every change of a state; in the thread of the change."""
        said = f" ({status.reason})" if status.reason else ""
        state = status.state.value
        if source is None:
            _log.debug("session: %s%s", state, said)
            self._signals.events.put(0)
            return
        level = logging.WARNING if status.state in _TROUBLE else logging.INFO
        extra = {"source": source, "state": state, "reason": status.reason}
        _log.log(level, "%s: %s%s", source, state, said, extra=extra)
