"""A run seen from anywhere: pictures, figures and controls over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...dependencies import require

if TYPE_CHECKING:
    from .sink import WebSink

#: What the extra `web` brings.
LIBRARIES = ("starlette", "uvicorn", "websockets", "prometheus_client")


def check_web(uri: str) -> None:
    """Raises what `open_web` does, as far as nothing has to be opened for it."""
    for library in LIBRARIES:
        require(library)
    from .options import read_options

    read_options(uri)


def open_web(uri: str) -> WebSink:
    """Serves a run at an address; see `options.read_options`.

    Raises:
        MissingDependencyError: the extra `web` is not installed.
        SinkError: the address has an unknown form, is not one of this machine, or its port is in use.
    """
    check_web(uri)
    from .options import read_options
    from .sink import WebSink

    return WebSink(read_options(uri))
