"""Tells where a run can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparsevit_runtime import Sink


def tell_addresses(sinks: Sequence[Sink]) -> None:
    """Says on stderr where a browser finds a run, with the token that it needs; also when little is to be told, as
    nothing else says it."""
    from .console import stderr

    for url in (getattr(sink, "url", "") for sink in sinks):
        if url:
            stderr().print(f"see it at {url}", soft_wrap=True)
