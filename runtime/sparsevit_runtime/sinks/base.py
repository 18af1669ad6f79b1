"""What a sink is: takes results, and the annotated picture where it wants one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SinkError
from ..images.frames import check_frame

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..tasks import Result


class StopStream(Exception):
    """The person watching asked to stop. Not an error: end the loop and close everything as at the stream's end."""


class Sink(ABC):
    """Takes results in order, in one thread.

    As a context manager it closes at the end, also when `StopStream` passes through, and aborts on any other exception.

    Attributes:
        name: place where the results go, for messages.
        needs_image: need of `write` for the annotated image; drawing is skipped when no sink does.
        may_block: claim that the pipeline waits for it, so that it misses no result. A live view does not block: it
            takes the newest result when it is ready for one.
        main_thread: need to be opened, written and closed in the process's main thread.
    """

    name: str
    needs_image: bool = False
    may_block: bool = True
    main_thread: bool = False

    @property
    def may_pause(self) -> bool:
        """Whether it is a recording that may be stopped and go on later, in files of its own."""
        return False

    @property
    def written(self) -> tuple[str, ...]:
        """Names of the files or folders that hold what was written, oldest first."""
        return (self.name,)

    @property
    def dropped(self) -> int:
        """Results that it took and had to give up."""
        return 0

    @property
    def waiting(self) -> int:
        """Results that it took and that are still on their way."""
        return 0

    def attach(self, session: Any) -> None:  # noqa: B027 - most sinks need none
        """Is told the session whose results will come, before it starts; a sink that several sessions write to, in
        turn, each of them.

        Args:
            session: handle to watch and move; see `sinks.web.protocol.LiveSession`.
        """

    @abstractmethod
    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        """Takes one result.

        Args:
            result: result of the frame.
            image: (H, W, 3) uint8 BGR, annotated; may be None when `needs_image` is False.

        Raises:
            SinkError: it cannot be written; `DiskFullError` where there is no room.
            FrameError: the image is not a frame.
            StopStream: the person watching asked to stop.
        """

    def pause(self) -> None:  # noqa: B027 - nothing to complete
        """Completes the files that were written; the next result begins a new one. Of those that `may_pause`.

        Raises:
            SinkError: they cannot be completed.
        """

    @abstractmethod
    def close(self) -> None:
        """Completes what was written and puts it in place. Safe to repeat.

        Raises:
            SinkError: it cannot be completed; nothing half-written stays but recordings of live sources.
        """

    @abstractmethod
    def abort(self) -> None:
        """Gives up: removes what is not complete. Recordings of live sources, which nobody can make again, are
        completed and kept as by `close`, without raising. Safe to repeat, and after `close` without effect."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, StopStream):
            self.close()
        else:
            self.abort()

    def _checked(self, image: np.ndarray | None) -> np.ndarray:
        if image is None:
            raise SinkError(f"{self.name} shows pictures and got none; pass the annotated image to write()")
        return check_frame(image)
