"""What the sinks have in common whose files may be recordings of a live source."""

from __future__ import annotations

import logging
from abc import abstractmethod

from ..errors import SinkError
from ..files import write_error
from .base import Sink
from .parts import KEPT, Parts

_log = logging.getLogger(__name__)


class RecordingSink(Sink):
    """Writes parts. Of a live source nothing that was written is thrown away."""

    _live: bool
    _closed: bool
    _parts: Parts

    @property
    def written(self) -> tuple[str, ...]:
        return self._parts.written

    def abort(self) -> None:
        """Removes the part that is not complete; of a live source it is completed and kept."""
        if self._closed:
            return
        if not self._live:
            self._give_up()
            return
        try:
            self.close()
        except SinkError as error:
            _log.warning("%s", error)

    @abstractmethod
    def _give_up(self) -> None:
        """Nothing more is written. What can be kept of a live source is kept as it is."""

    def _failed(self, error: OSError) -> SinkError:
        """Gives up, and says so."""
        part = self._parts.current
        self._give_up()
        if not self._live or part is None:
            return write_error(self.name, error)
        return write_error(part, error, KEPT)
