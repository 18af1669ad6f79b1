"""A server of Triton's gRPC protocol that runs a model repository with ONNX Runtime.

It keeps the rules of Triton that matter to a client: requests are checked against the configuration, every input has
the batch as its first size, an optional input may be left out, and requests that wait at the same time and have inputs
of the same names and shapes are joined into one run.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

TYPES = {"UINT8": np.uint8, "FP32": np.float32, "FP16": np.float16, "INT32": np.int32, "INT64": np.int64}


def read_config(folder: Path) -> model_config_pb2.ModelConfig:
    """A model's configuration, as Triton's schema reads it."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


class Served:
    """One model of a repository."""

    def __init__(self, folder: Path) -> None:
        self.config = read_config(folder)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        path = next(folder.glob("*/model.onnx"))
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.runs: list[int] = []  # frames of each
        self._lock = threading.Lock()
        self._waiting: list[tuple[dict[str, np.ndarray], Any]] = []
        self.hold = threading.Event()  # while it is clear requests wait
        self.hold.set()

    def check(self, feeds: dict[str, np.ndarray]) -> str:
        """What Triton would refuse; empty for nothing."""
        known = {each.name: each for each in self.config.input}
        if unknown := set(feeds) - set(known):
            return f"unexpected inference input '{min(unknown)}' for model '{self.config.name}'"
        for name, given in known.items():
            if name not in feeds:
                if not given.optional:
                    return f"expected input '{name}'"
                continue
            shape = feeds[name].shape
            fits = len(shape) == len(given.dims) + 1 and all(d in (-1, n) for d, n in zip(given.dims, shape[1:]))
            if not fits or len(shape) == 0 or not 1 <= shape[0] <= self.config.max_batch_size:
                return f"unexpected shape for input '{name}': {list(shape)}, expected [-1,{list(given.dims)}]"
        return "" if len({len(array) for array in feeds.values()}) == 1 else "input batch sizes do not match"

    def infer(self, feeds: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
        ticket: dict[str, Any] = {"done": threading.Event()}
        with self._lock:
            self._waiting.append((feeds, ticket))
        self.hold.wait()
        with self._lock:
            if not ticket["done"].is_set():
                self._run_batch()
        return {name: ticket["outputs"][name] for name in names}

    def _run_batch(self) -> None:
        """Runs all that wait, those of one shape together."""
        waiting, self._waiting = self._waiting, []
        groups: dict[Any, list[Any]] = {}
        for feeds, ticket in waiting:
            groups.setdefault(tuple((n, a.shape[1:]) for n, a in sorted(feeds.items())), []).append((feeds, ticket))
        for group in groups.values():
            joined = {name: np.concatenate([feeds[name] for feeds, _ in group]) for name in group[0][0]}
            names = [each.name for each in self.session.get_outputs()]
            answers = self.session.run(names, joined)
            first = 0
            self.runs.append(len(joined["image"]))
            for feeds, ticket in group:
                stop = first + len(feeds["image"])
                ticket["outputs"] = {name: answer[first:stop] for name, answer in zip(names, answers)}
                ticket["done"].set()
                first = stop


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, models: dict[str, Served]) -> None:
        self._models = models

    def _model(self, name: str, context: grpc.ServicerContext) -> Served:
        if name not in self._models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        return self._models[name]

    def ServerMetadata(self, request, context):
        return service_pb2.ServerMetadataResponse(name="triton", version="2.0.0-test")

    def ModelConfig(self, request, context):
        return service_pb2.ModelConfigResponse(config=self._model(request.name, context).config)

    def ModelInfer(self, request, context):
        model = self._model(request.model_name, context)
        feeds = {
            given.name: np.frombuffer(raw, TYPES[given.datatype]).reshape(list(given.shape))
            for given, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        if problem := model.check(feeds):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        outputs = model.infer(feeds, [each.name for each in request.outputs])
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        kinds = {np.dtype(kind): name for name, kind in TYPES.items()}
        for name, array in outputs.items():
            response.outputs.add(name=name, datatype=kinds[array.dtype], shape=array.shape)
            response.raw_output_contents.append(np.ascontiguousarray(array).tobytes())
        return response


class TritonServer:
    """Serves a repository on a port of this machine, until it is stopped; it may be started again."""

    def __init__(self, repository: Path) -> None:
        folders = [each for each in repository.iterdir() if each.is_dir()]
        self.models = {folder.name: Served(folder) for folder in folders}
        self.port = 0
        self.start()

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(self.models), self._server)
        until = time.monotonic() + 10
        while True:
            try:
                self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
                break
            except RuntimeError:  # the port is still that of the server before
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def uri(self, name: str) -> str:
        return f"triton://127.0.0.1:{self.port}/{name}"
