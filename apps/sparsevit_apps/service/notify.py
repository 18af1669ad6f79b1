"""Tells systemd what a service is doing (``Type=notify``)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(what: str) -> None:
    """Tells the service manager, when there is one: ``READY=1``, ``RELOADING=1``, ``STOPPING=1``, ``STATUS=...``."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        link.connect("\0" + address[1:] if address.startswith("@") else address)
        link.send(what.encode())
