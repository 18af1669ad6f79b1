"""Sends messages to somebody who may be away, without anyone waiting for it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from .spool import Spool

_log = logging.getLogger(__name__)

#: Waits between attempts: the first, and the longest; each is twice the one before, and differs by a share at random.
FIRST_WAIT_S, LONGEST_WAIT_S, _JITTER = 0.5, 30.0, 0.2
#: A batch that is answered with an error so often is given up, so that it does not hold up all others.
_MOST_ANSWERS = 8
#: At the end so long is tried to send what is left.
GRACE_S = 2.0
#: One that does not end when it is interrupted is left to itself.
_LEAVE_S = 1.0
#: A connection without anything to send is looked at so often; a spool is relieved so often meanwhile.
_LOOK_S = 1.0
#: What is lost is told no more often.
_TELL_EVERY_S = 60.0


class UnreachableError(Exception):
    """Nobody answers: the messages are kept, and sent again later."""


class FailedError(Exception):
    """The other side answered that it cannot take them now: they are sent again, some times."""


class RefusedError(Exception):
    """The other side will never take them: they are given up."""


class Sender(Protocol):
    """The way to the other side, used by one thread.

    Attributes:
        most: messages of one batch at most.
    """

    most: int

    def send(self, messages: Sequence[bytes]) -> None:
        """Sends a batch; when it returns, the other side has it. Takes a limited time.

        Raises:
            UnreachableError, FailedError, RefusedError: it has not.
        """

    def tend(self) -> None:
        """Called now and then while there is nothing to send. Raises UnreachableError when the link is gone."""

    def interrupt(self) -> None:
        """Has a call under way return soon. From any thread."""

    def close(self) -> None:
        """Says goodbye, when somebody is there."""


class Forwarder:
    """Sends messages in order, again when it fails, after pauses that grow. Every message is sent, dropped because its
    spool was full, refused, or waits.

    Threads: one of its own, "sparsevit-forwarder", which alone uses the sender. `put` from any, `close` from one.

    Attributes:
        sent: messages that the other side has.
        refused: messages that it did not want.
    """

    def __init__(
        self, name: str, sender: Sender, spool: Spool, *, batch_s: float = 0.0, first_wait_s: float = FIRST_WAIT_S
    ) -> None:
        """
        Args:
            name: name in the log, without secrets.
            sender: way to the other side; closed at the end.
            spool: of what waits; closed at the end.
            batch_s: wait for more messages before a batch that is not full, seconds.
            first_wait_s: wait after a first failure, seconds.
        """
        self.sent = self.refused = 0
        self._name, self._sender, self._spool = name, sender, spool
        self._batch_s, self._first_wait_s = batch_s, first_wait_s
        self._changed = threading.Condition()
        self._until: float | None = None  # when it has to end
        self._away = False
        self._failures = self._answers = 0
        self._told, self._told_s = 0, -_TELL_EVERY_S
        self._thread = threading.Thread(target=self._run, name="sparsevit-forwarder", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Messages that nobody will get."""
        return self._spool.dropped + self.refused

    @property
    def waiting(self) -> int:
        """Messages that wait."""
        return len(self._spool)

    def put(self, message: bytes) -> None:
        """Takes a message; waits for nothing."""
        self._spool.put(message)
        with self._changed:
            self._changed.notify()

    def close(self, grace_s: float = GRACE_S) -> None:
        """Ends, after an attempt to send what is left. Safe to repeat.

        Args:
            grace_s: longest time for that, seconds. A call of the sender that is under way is interrupted then.
        """
        with self._changed:
            if self._until is None:
                self._until = time.monotonic() + grace_s
            self._changed.notify()
        self._thread.join(grace_s)
        if self._thread.is_alive():
            self._sender.interrupt()
            self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        try:
            while self._goes_on():
                self._spool.relieve()
                self._tell_losses()
                messages = self._spool.peek(self._sender.most)
                self._step(messages)
        except Exception:
            _log.exception("%s: sending ended by an error of its own", self._name)
        finally:
            left = self.waiting
            self._spool.close()
            self._tell_losses(last=left)
            self._sender.close()

    def _goes_on(self) -> bool:
        if self._until is None:
            return True
        return not self._away and self.waiting > 0 and time.monotonic() < self._until

    def _step(self, messages: list[bytes]) -> None:
        """Sends a batch, or looks after the link."""
        try:
            if not messages:
                self._sender.tend()
            else:
                self._sender.send(messages)
        except UnreachableError as error:
            self._pause(str(error))
            return
        except FailedError as error:
            self._answers += 1
            if self._answers < _MOST_ANSWERS:
                self._pause(str(error))
                return
            self._give_up(messages, f"{error}, {self._answers} times")
        except RefusedError as error:
            self._give_up(messages, str(error))
        else:
            self.sent += len(messages)
            self._spool.commit()
        if self._away:
            _log.info("%s: is there again, %d messages wait", self._name, self.waiting)
        self._away, self._failures, self._answers = False, 0, 0
        self._rest(len(messages))

    def _give_up(self, messages: list[bytes], why: str) -> None:
        self._spool.commit()
        self.refused += len(messages)
        _log.warning("%s: %d messages are given up: %s", self._name, len(messages), why)

    def _rest(self, sent: int) -> None:
        """Until there is something to send, and a batch is worth it or due."""
        with self._changed:
            if self._until is None and not len(self._spool):
                self._changed.wait(_LOOK_S)
            due = time.monotonic() + (self._batch_s if len(self._spool) else 0.0)
            while self._until is None and len(self._spool) < self._sender.most and time.monotonic() < due:
                self._changed.wait(max(0.0, due - time.monotonic()))

    def _pause(self, why: str) -> None:
        """Waits before the next attempt, longer each time."""
        if not self._away:
            _log.warning("%s: %s; messages are kept and sent again", self._name, why)
        self._away = True
        wait_s = min(LONGEST_WAIT_S, self._first_wait_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        due = time.monotonic() + wait_s * random.uniform(1 - _JITTER, 1 + _JITTER)
        while self._until is None and (left := due - time.monotonic()) > 0:
            self._spool.relieve()
            self._tell_losses()
            with self._changed:
                # Messages that come meanwhile are no reason to try at once.
                if self._until is None:
                    self._changed.wait_for(lambda: self._until is not None, min(left, _LOOK_S))

    def _tell_losses(self, last: int | None = None) -> None:
        now, dropped = time.monotonic(), self._spool.dropped
        if dropped > self._told and (last is not None or now - self._told_s >= _TELL_EVERY_S):
            what = "dropped, as nobody took them" if last else "dropped, as there was no more room for them"
            _log.warning("%s: %d messages were %s", self._name, dropped - self._told, what)
            self._told, self._told_s = dropped, now
        elif last:
            _log.info("%s: %d messages are kept for the next start", self._name, last)
