"""Triton: the backend of models that a server runs."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..card import ModelCard
from ..contract import BATCH, IMAGE, KEEP, TensorSpec
from ..dependencies import require
from ..errors import BackendError, CardError, ModelError, ServerError
from ..texts import shown
from ..triton import CARD_PARAMETER, DIGEST_PARAMETER, SCHEME, keep_rows
from .base import Backend, Capabilities, DeviceInfo, Outputs

_Answer = TypeVar("_Answer")

_URI = re.compile(re.escape(SCHEME) + r"(?P<server>[^/?#\s]+:[0-9]{1,5})/(?P<name>[\w.-]+)(?:/(?P<version>[0-9]+))?/?$")
_TYPES = {
    "TYPE_UINT8": np.uint8,
    "TYPE_FP32": np.float32,
    "TYPE_FP16": np.float16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_BOOL": np.bool_,
}
_NAMES = {"uint8": "UINT8", "float32": "FP32", "float16": "FP16", "int32": "INT32", "int64": "INT64", "bool": "BOOL"}
#: Longest wait for an answer, seconds.
_ANSWER_S = 60.0
#: A channel whose server was away tries it again soon: gRPC's own waits grow to two minutes.
_CHANNEL = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
#: What the server being away, starting or too busy is called.
_AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED")


class TritonBackend(Backend):
    """A model on a Triton server, asked over gRPC; `sparsevit export-triton` writes the repository.

    A server that is gone is told as `ServerError`, and asked again with the next run.

    Threads: `run` may be called from several threads at once, each with a connection of its own; the server joins what
    they ask into batches.

    Attributes:
        digest: digest of the model file; empty where the repository does not say.
    """

    name = "triton"

    def __init__(self, uri: str) -> None:
        """
        Args:
            uri: ``triton://host:port/name``, and ``/version`` behind it; the port is that of gRPC, 8001 by itself.

        Raises:
            ModelError: it is no such URI, or the server has no such model.
            CardError: the model's configuration has no card.
            ServerError: the server is away.
            MissingDependencyError: tritonclient is not installed.
        """
        found = _URI.match(uri)
        if found is None:
            raise ModelError(f"{shown(uri)} names no model on a server; write triton://host:8001/name")
        require("tritonclient")
        require("grpc")
        self._grpc: Any = importlib.import_module("tritonclient.grpc")
        self._server, self._model, self._version = found["server"], found["name"], found["version"] or ""
        self._clients = threading.local()
        self._all_clients: list[Any] = []
        config = self._asked(
            lambda client: client.get_model_config(self._model, self._version, client_timeout=_ANSWER_S).config
        )
        about = self._asked(lambda client: client.get_server_metadata(client_timeout=_ANSWER_S))
        self._library = f"{about.name} {about.version}"
        if CARD_PARAMETER not in config.parameters:
            raise CardError(
                f"{uri} carries no model card; write its repository with `sparsevit export-triton MODEL REPOSITORY`"
            )
        card = ModelCard.from_json(config.parameters[CARD_PARAMETER].string_value, origin=uri)
        self.digest: str = config.parameters[DIGEST_PARAMETER].string_value if _has_digest(config) else ""
        self._shape_keep = any(each.name == KEEP and each.is_shape_tensor for each in config.input)
        self._runs_on = config.backend or config.platform
        most = config.max_batch_size
        inputs, outputs = [_spec(each, most) for each in config.input], [_spec(each, most) for each in config.output]
        super().__init__(
            Path(self._model),
            card,
            [spec.name for spec in outputs],
            DeviceInfo("cpu", f"Triton at {self._server}"),
            Capabilities(),
            (1, most or 1),
        )
        inputs = [next(w for w in self.contract.inputs if w.name == KEEP) if s.name == KEEP else s for s in inputs]
        self.contract.check_graph(inputs, outputs, uri)

    @property
    def details(self) -> dict[str, str]:
        """See `Backend.details`."""
        return {
            "library": self._library,
            "device": str(self.device),
            "backend": self._runs_on,
            "version": self._version or "the newest",
        }

    def _run(self, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Outputs:
        if not outputs:
            outputs = self.output_names[:1]  # Triton takes none for all
        inputs = []
        for name, array in feeds.items():
            if name == KEEP and not self._shape_keep:
                array = keep_rows(array, len(feeds[IMAGE]))
            given = self._grpc.InferInput(name, list(array.shape), _NAMES[array.dtype.name])
            given.set_data_from_numpy(array)
            inputs.append(given)
        wanted = [self._grpc.InferRequestedOutput(name) for name in outputs]
        answer = self._asked(
            lambda client: client.infer(
                self._model, inputs, self._version, outputs=wanted, client_timeout=_ANSWER_S, timeout=None
            )
        )
        return {name: np.array(answer.as_numpy(name)) for name in outputs}

    def _close(self) -> None:
        clients, self._all_clients = self._all_clients, []
        for client in clients:
            client.close()

    def _asked(self, ask: Callable[[Any], _Answer]) -> _Answer:
        """Asks the server, with its errors as ours."""
        client = getattr(self._clients, "client", None)
        if client is None:
            client = self._grpc.InferenceServerClient(self._server, channel_args=list(_CHANNEL))
            self._clients.client = client
            self._all_clients.append(client)
        try:
            return ask(client)
        except self._grpc.InferenceServerException as error:
            status, told = str(error.status() or ""), " ".join(str(error.message()).split())
            if any(each in status for each in _AWAY):
                raise ServerError(
                    f"the Triton server at {self._server} does not answer ({told}); start it, or check host and port: "
                    "it is asked again with the next frame"
                ) from error
            if "NOT_FOUND" in status or "unknown model" in told:
                raise ModelError(
                    f"the Triton server at {self._server} has no model {self._model!r} ({told}); check its repository"
                ) from error
            raise BackendError(f"the Triton server at {self._server} refused {self._model!r}: {told}") from error


def _has_digest(config: Any) -> bool:
    return DIGEST_PARAMETER in config.parameters


def _spec(tensor: Any, most: int) -> TensorSpec:
    """An input or output of a configuration. With a largest batch its sizes are those of one frame."""
    from_dims = tuple(int(size) if size >= 0 else f"{tensor.name}{i}" for i, size in enumerate(tensor.dims))
    kind = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name
    shape = (BATCH, *from_dims) if most else from_dims
    return TensorSpec(tensor.name, np.dtype(_TYPES.get(kind, np.object_)), shape)
