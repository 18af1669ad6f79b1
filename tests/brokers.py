"""A real MQTT broker of the system, which may be stopped and started again, and somebody who listens."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from certificates import Authority

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def needs_broker() -> pytest.MarkDecorator:
    try:
        from paho.mqtt.client import CallbackAPIVersion  # noqa: F401
    except ImportError:
        return pytest.mark.skip(reason="paho-mqtt 2 is not installed")
    return pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """mosquitto at a port of its own.

    Args:
        folder: of its settings.
        user: name and password; None for anybody.
        authority: signer of its certificate, with which it speaks TLS alone; None for none.
    """

    def __init__(self, folder: Path, user: tuple[str, str] | None = None, authority: Authority | None = None) -> None:
        self.port = free_port()
        self._settings = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false"]
        if os.geteuid() == 0:
            lines.append("user root")  # or it cannot read its files
        if authority is not None:
            lines += [f"certfile {authority.certificate}", f"keyfile {authority.key}"]
        if user is None:
            lines.append("allow_anonymous true")
        else:
            passwords = folder / "passwords"
            passwords.write_text(":".join(user) + "\n")
            subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        self._settings.write_text("\n".join(lines) + "\n")
        self.process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None, "no broker"
                time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Listener:
    """Collects what is published.

    Attributes:
        messages: topic and text, in order.
    """

    def __init__(self, broker: Broker, user: tuple[str, str] | None = None) -> None:
        from paho.mqtt import client as mqtt

        self.messages: list[tuple[str, str, bool]] = []
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if user is not None:
            self._client.username_pw_set(*user)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self._client.on_message = lambda _client, _data, message: self.messages.append(
            (message.topic, message.payload.decode(), bool(message.retain))
        )
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def frames(self, topic: str) -> list[int]:
        return [json.loads(text)["frame"] for name, text, _ in self.messages if name == topic]

    def statuses(self, topic: str) -> list[str]:
        return [text for name, text, _ in self.messages if name == f"{topic}/status"]

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
