"""Where the time of one run went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StageTimes:
    """Times of one run on a GPU, in the words of trtexec.

    Attributes:
        h2d_ms: copies to the device, between events on the stream.
        compute_ms: the engine, between events on the stream.
        d2h_ms: copies of the outputs asked for, between events on the stream.
        enqueue_ms: the host's time until everything was queued.
        total_ms: the host's time from the call to the arrays being there.
    """

    h2d_ms: float
    compute_ms: float
    d2h_ms: float
    enqueue_ms: float
    total_ms: float
