"""Results published to an MQTT broker: ``mqtt://host/topic``; the extra `mqtt`."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..certificates import parse_ca, say_tls, tls_context
from ..dependencies import missing, require
from ..errors import MissingDependencyError, SinkError
from ..texts import is_unicode
from .forwarder import UnreachableError
from .options import choice, read_options
from .outgoing import SPOOL_OPTIONS, OutgoingSink, spool_folder
from .spool import DISK_BYTES, Spool

SCHEMES = ("mqtt", "mqtts")
_FORM = (
    "mqtt://[user:password@]host[:port]/topic, mqtts:// for TLS, with ?ca=FILE for certificates of one's own; "
    "?qos=0 or 1, &spool=FOLDER&spool_mb=256"
)
_OPTIONS: dict[str, Callable[[str], Any]] = {"qos": choice("0", "1"), "ca": parse_ca} | SPOOL_OPTIONS
_PORTS = {"mqtt": 1883, "mqtts": 8883}
#: Messages under way at once.
_BATCH = 20
_TIMEOUT_S, _KEEPALIVE_S = 5.0, 30
_ONLINE, _OFFLINE = "online", "offline"
#: Bytes of a topic's name at most.
_LONGEST_TOPIC = 1024


@dataclass(frozen=True)
class MqttOptions:
    """Where results are published, and how.

    Attributes:
        name: name without secrets.
        tls: use of TLS.
        host, port: of the broker.
        user, password: of the broker; None for none.
        topic: topic of the results; its `status` beside it says ``online`` or ``offline``.
        qos: 0 or 1.
        spool: folder of what waits; None for memory alone.
        spool_bytes: size of that folder at most.
        ca: file of the certificates that are trusted; None for the system's.
    """

    name: str
    tls: bool
    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    topic: str
    qos: int = 1
    spool: Path | None = None
    spool_bytes: int = DISK_BYTES
    ca: Path | None = None

    @property
    def status_topic(self) -> str:
        return f"{self.topic}/status"


def read_mqtt(uri: str) -> MqttOptions:
    """Reads an address.

    Raises:
        SinkError: it has another form.
    """
    scheme = uri.partition("://")[0].lower()
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or _PORTS.get(scheme, 0)
    except ValueError:
        raise SinkError(f"the {scheme} address is not valid; accepted: {_FORM}") from None
    topic = unquote(parts.path.removeprefix("/"))
    name = f"{scheme}://{host}:{port}/{topic}"
    wrong = not topic or not is_unicode(topic) or topic.startswith("$") or any(letter in topic for letter in "+#\0")
    if scheme not in SCHEMES or not host or parts.fragment or wrong or len(topic.encode()) > _LONGEST_TOPIC:
        raise SinkError(f"the {scheme} address has no host, or no topic that may be published to; accepted: {_FORM}")
    options = read_options(f"{name}?{parts.query}" if parts.query else name, _OPTIONS, _FORM)
    if "ca" in options and scheme != "mqtts":
        raise SinkError(f"{name}: certificates are for mqtts://, and mqtt:// sends everything in the clear")
    folder, size = spool_folder(name, options)
    return MqttOptions(
        name,
        scheme == "mqtts",
        host,
        port,
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
        topic,
        int(options.get("qos", "1")),
        folder,
        size,
        options.get("ca"),
    )


def check_mqtt(uri: str) -> None:
    """Raises what `open_mqtt` does, as far as nothing has to be opened for it."""
    _checked(uri)


def _checked(uri: str) -> MqttOptions:
    options = read_mqtt(uri)
    require("paho")
    if not hasattr(require("paho.mqtt.client"), "CallbackAPIVersion"):
        raise MissingDependencyError(f"{missing('paho')}: the one that is there is older than 2", name="paho")
    return options


def open_mqtt(uri: str) -> OutgoingSink:
    """Publishes results to a broker, which need not be there yet.

    Raises:
        SinkError: the address has another form, or its spool cannot be used.
        MissingDependencyError: the extra `mqtt` is not installed.
    """
    options = _checked(uri)
    return OutgoingSink(options.name, MqttSender(options), Spool(options.spool, options.spool_bytes))


class MqttSender:
    """Publishes over a connection that is made anew after every failure, so that nothing waits but in our spool. While
    it lives the retained status is ``online``; ``offline`` afterwards, by its last will when it dies.

    Threads: one, and any for `interrupt`; the library has one for each connection.

    Attributes:
        most: messages under way at once.
    """

    most = _BATCH

    def __init__(self, options: MqttOptions) -> None:
        self._options = options
        self._client: Any = None
        self._interrupted = threading.Event()

    def send(self, messages: Sequence[bytes]) -> None:
        """See `forwarder.Sender.send`."""
        client = self._connected()
        try:
            self._publish(client, [(self._options.topic, message, False) for message in messages])
        except UnreachableError:
            self._leave()
            raise

    def tend(self) -> None:
        self._connected()

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        client = self._client
        if client is not None and client.is_connected():
            with suppress(UnreachableError):
                self._publish(client, [(self._options.status_topic, _OFFLINE, True)], within_s=1.0)
        self._leave(broken=False)

    def _connected(self) -> Any:
        if self._client is not None and self._client.is_connected():
            return self._client
        self._leave()
        from paho.mqtt import client as mqtt

        options = self._options
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"sparsevit-{secrets.token_hex(6)}",
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(_BATCH)
        client.connect_timeout = _TIMEOUT_S
        client.username_pw_set(options.user, options.password)
        client.will_set(options.status_topic, _OFFLINE, qos=1, retain=True)
        if options.tls:
            client.tls_set_context(tls_context(options.ca))
        answered = threading.Event()
        answers: list[Any] = []

        def on_connect(_client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            answers.append(code)
            answered.set()

        client.on_connect = on_connect
        self._client = client
        try:
            client.connect(options.host, options.port, _KEEPALIVE_S)
            client.loop_start()
        except (OSError, ValueError) as error:
            self._leave()
            why = say_tls(error) or f"it cannot be reached ({getattr(error, 'strerror', None) or error})"
            raise UnreachableError(why) from error
        if not answered.wait(_TIMEOUT_S) or answers[0].is_failure:
            why = f"it refuses the connection ({answers[0]})" if answers else "it does not answer in time"
            self._leave()
            raise UnreachableError(why)
        try:
            self._publish(client, [(options.status_topic, _ONLINE, True)])
        except UnreachableError:
            self._leave()
            raise
        return client

    def _publish(
        self, client: Any, messages: Sequence[tuple[str, bytes | str, bool]], within_s: float = _TIMEOUT_S
    ) -> None:
        """Publishes, and waits until all are acknowledged, or written to the socket with QoS 0. Status is QoS 1."""
        qos = self._options.qos
        infos = [client.publish(topic, what, 1 if retain else qos, retain) for topic, what, retain in messages]
        until = time.monotonic() + within_s
        try:
            for info in infos:
                while not info.is_published():
                    if self._interrupted.is_set() or time.monotonic() >= until or not client.is_connected():
                        raise UnreachableError("it does not acknowledge in time, or is gone")
                    info.wait_for_publish(0.1)
        except (RuntimeError, ValueError) as error:
            raise UnreachableError(f"it takes no messages ({error})") from error

    def _leave(self, *, broken: bool = True) -> None:
        """Ends the connection; a broken one without a word, so that the broker publishes the last will, and the
        library's thread is not left waiting to send."""
        client, self._client = self._client, None
        if client is None:
            return
        with suppress(OSError, ValueError):
            if not broken:
                client.disconnect()
            elif (link := client.socket()) is not None:
                link.shutdown(socket.SHUT_RDWR)
        client.loop_stop()
