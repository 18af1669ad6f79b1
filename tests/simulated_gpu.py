"""NVIDIA's side, simulated: the CUDA runtime and TensorRT as far as the backend calls them, for machines without a GPU.

Work is queued and done only when somebody waits for it, in an order that only streams and events decide. So an answer
read too early is poison, a buffer written too early gives a wrong answer, and a wait for nothing ends in an error.
"""

from __future__ import annotations

import importlib.machinery
import itertools
import json
import time
import weakref
from collections import deque
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime

POISON = 0xA5
#: Of memory, as CUDA's own; TensorRT asks for it.
_ALIGNMENT = 256
_ERRORS = {
    2: "cudaErrorMemoryAllocation",
    35: "cudaErrorInsufficientDriver",
    100: "cudaErrorNoDevice",
    700: "cudaErrorIllegalAddress",
    900: "cudaErrorStreamCaptureUnsupported",
}
_OK = 0


class Failure(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class _Memory:
    def __init__(self) -> None:
        self.blocks: dict[int, np.ndarray] = {}
        self.users: dict[int, _Stream] = {}  # address of memory for activations -> stream that works there

    def allocate(self, nbytes: int) -> int:
        space = np.full(nbytes + _ALIGNMENT, POISON, np.uint8)
        offset = -space.ctypes.data % _ALIGNMENT
        address = space.ctypes.data + offset
        self.blocks[address] = space[offset : offset + nbytes]
        return address

    def free(self, address: int) -> None:
        del self.blocks[address]
        self.users.pop(address, None)

    def view(self, address: int, nbytes: int) -> np.ndarray:
        """Bytes that lie in one block, or an error: nothing reads or writes beyond a buffer."""
        for start, block in self.blocks.items():
            if start <= address and address + nbytes <= start + len(block):
                return block[address - start : address - start + nbytes]
        raise AssertionError(f"{nbytes} bytes at {address:#x} lie in no buffer")


class _Event:
    def __init__(self) -> None:
        self.place: tuple[_Stream, int] | None = None
        self.time = 0.0


class _Stream:
    def __init__(self) -> None:
        self.queue: deque = deque()
        self.queued = self.done = 0
        self.recording: list | None = None

    def add(self, work, on_launch=lambda: None) -> None:
        """Queues work, or records it with what is to be checked at each launch of the graph."""
        if self.recording is not None:
            self.recording.append((work, on_launch))
            return
        self.queue.append(work)
        self.queued += 1

    def finish(self, until: int | None = None) -> None:
        """Does what is queued, up to a place."""
        until = self.queued if until is None else until
        while self.done < until:
            self.done += 1
            self.queue.popleft()()


class Cuda:
    """The functions of `cuda.bindings.runtime`, each returning (error, values...).

    Attributes:
        failing: function name -> error code that it returns.
        allocations: buffers made so far.
        copies: bytes copied between the host and the GPU.
        captures: graphs recorded.
        launches: graphs launched.
        device_waits: waits for all streams.
        places: address of a buffer -> kind of memory, and the GPU it is of.
        faults: what a real GPU would not have told: wrong answers, or memory used after its end.
    """

    cudaEventBlockingSync, cudaStreamNonBlocking, cudaHostAllocMapped = 1, 1, 2
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaError_t = SimpleNamespace(cudaErrorNoDevice=100)
    cudaMemoryType = SimpleNamespace(
        cudaMemoryTypeUnregistered=0, cudaMemoryTypeHost=1, cudaMemoryTypeDevice=2, cudaMemoryTypeManaged=3
    )

    def __init__(self, integrated: bool = False) -> None:
        self.memory = _Memory()
        self.failing: dict[str, int] = {}
        self.faults: list[str] = []
        self.integrated = integrated
        self.allocations = self.copies = self.captures = self.launches = self.device_waits = 0
        self.places: dict[int, tuple[int, int]] = {}
        self.objects: dict[int, object] = {}
        self._numbers = itertools.count(100)
        self._default = _Stream()

    def __getattribute__(self, name: str):
        value = object.__getattribute__(self, name)
        if not name.startswith("cuda") or not callable(value) or isinstance(value, SimpleNamespace):
            return value

        def call(*arguments):
            assert not self.faults, self.faults
            if name in self.failing:
                if name == "cudaStreamEndCapture":  # a failed recording has ended too
                    value(*arguments)
                return (self.failing[name], None)
            try:
                found = value(*arguments)
            except Failure as failure:
                return (failure.code, None)
            return (_OK,) if found is None else (_OK, found)

        return call

    def _keep(self, thing: object) -> int:
        number = next(self._numbers)
        self.objects[number] = thing
        return number

    def stream(self, handle: int) -> _Stream:
        return self._default if int(handle) == 1 else self.objects[int(handle)]

    def cudaGetDeviceCount(self):
        return 1

    def cudaGetDeviceProperties(self, index):
        return SimpleNamespace(name=b"Simulated", major=8, minor=7, integrated=self.integrated, canMapHostMemory=1)

    def cudaDriverGetVersion(self):
        return 12040

    def cudaRuntimeGetVersion(self):
        return 13000

    def cudaGetErrorName(self, code):
        return _ERRORS[code].encode()

    def cudaGetErrorString(self, code):
        return b"simulated"

    def cudaGetLastError(self):
        return None

    def cudaMalloc(self, nbytes):
        self.allocations += 1
        address = self.memory.allocate(nbytes)
        self.places[address] = 2, 0
        return address

    def cudaHostAlloc(self, nbytes, flags):
        self.allocations += 1
        address = self.memory.allocate(nbytes)
        self.places[address] = 1, 0
        return address

    def cudaFree(self, address):
        self.memory.free(int(address))
        del self.places[int(address)]

    def cudaPointerGetAttributes(self, address):
        kind, device = self.places.get(address, (0, -2))
        return SimpleNamespace(type=kind, device=device, devicePointer=address if kind else 0)

    cudaFreeHost = cudaFree

    def cudaHostGetDevicePointer(self, address, flags):
        return int(address)

    def cudaStreamCreateWithFlags(self, flags):
        return self._keep(_Stream())

    def cudaEventCreateWithFlags(self, flags):
        return self._keep(_Event())

    def cudaStreamDestroy(self, handle):
        del self.objects[int(handle)]

    cudaEventDestroy = cudaGraphExecDestroy = cudaGraphDestroy = cudaStreamDestroy

    def cudaEventRecord(self, event, stream):
        event, stream = self.objects[event], self.stream(stream)

        def pass_by() -> None:
            event.time = time.perf_counter()

        stream.add(pass_by)
        event.place = stream, stream.queued

    def cudaStreamWaitEvent(self, stream, event, flags):
        place = self.objects[event].place
        assert place is not None, "a stream waits for an event that nobody recorded"
        self.stream(stream).add(lambda: place[0].finish(place[1]))

    def cudaEventSynchronize(self, event):
        place = self.objects[event].place
        assert place is not None, "a wait for an event that nobody recorded"
        place[0].finish(place[1])

    def cudaEventElapsedTime(self, start, end):
        return (self.objects[end].time - self.objects[start].time) * 1e3

    def cudaStreamSynchronize(self, stream):
        self.stream(stream).finish()

    def cudaDeviceSynchronize(self):
        streams = [self._default, *(thing for thing in list(self.objects.values()) if isinstance(thing, _Stream))]
        if any(stream.recording is not None for stream in streams):
            raise Failure(900)
        self.device_waits += 1
        for stream in streams:
            stream.finish()

    def cudaMemcpyAsync(self, target, source, nbytes, kind, stream):
        assert kind in (1, 2) and not self.integrated
        self.copies += nbytes

        def copy() -> None:
            self.memory.view(target, nbytes)[:] = self.memory.view(source, nbytes)

        self.stream(stream).add(copy)

    def cudaStreamBeginCapture(self, stream, mode):
        self.stream(stream).recording = []

    def cudaStreamEndCapture(self, stream):
        stream = self.stream(stream)
        recorded, stream.recording = stream.recording, None
        self.captures += 1
        return self._keep(recorded)

    def cudaGraphInstantiate(self, graph, flags):
        return self._keep(self.objects[graph])

    def cudaGraphLaunch(self, graph, stream):
        self.launches += 1
        for work, on_launch in self.objects[graph]:
            on_launch()
            self.stream(stream).add(work)


_TYPES = {
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(float)": ("FLOAT", np.float32),
    "tensor(int32)": ("INT32", np.int32),
    "tensor(int64)": ("INT64", np.int64),
}


#: Memory that an execution context needs for activations.
_ACTIVATION_BYTES = 1000


class _State:
    """Of an execution context.

    Attributes:
        version: counts what it was bound to.
        done: the version of the last run that is over.
        pending: runs that are not over.
        alive: it still exists.
    """

    def __init__(self) -> None:
        self.version = self.pending = 0
        self.done: int | None = None
        self.alive = True

    @property
    def warm(self) -> bool:
        return self.done == self.version

    def end(self, faults: list[str]) -> None:
        self.alive = False
        if self.pending:
            faults.append("an execution context was given up while it ran")


def simulated_tensorrt(
    cuda: Cuda, model: Path, batches: tuple[int, int] = (1, 2), keep_on_host: bool = True, profiles: int = 1
) -> ModuleType:
    """A module `tensorrt` 10.3 whose only engine is `model`, run by ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    inputs = {i.name: i for i in session.get_inputs()}
    tensors = {**inputs, **{o.name: o for o in session.get_outputs()}}
    trt = ModuleType("tensorrt")
    trt.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
    trt.__version__ = "10.3.0"
    trt.TensorLocation = Enum("TensorLocation", "DEVICE HOST")
    trt.TensorIOMode = Enum("TensorIOMode", "INPUT OUTPUT")
    trt.ExecutionContextAllocationStrategy = Strategy = Enum("Strategy", "STATIC ON_PROFILE_CHANGE USER_MANAGED")
    trt.LayerInformationFormat = Enum("LayerInformationFormat", "ONELINE JSON")
    trt.refuses = trt.shapeless = False  # whether a run is refused, whether shapes cannot be told
    trt.contexts, trt.contexts_left = 0, -1  # execution contexts made so far, and how many there is memory for
    trt.runs = 0  # asked of execution contexts, not of graphs
    trt.profiles_run = []  # the profile of each of them

    class ILogger:
        Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    class IProfiler:
        pass

    class Context:
        def __init__(self, engine, strategy) -> None:
            self.engine = engine
            self.shapes: dict[str, tuple[int, ...]] = {}
            self.addresses: dict[str, int] = {}
            self.profiler = None
            self.state = _State()
            self.inferred = None  # version that the shapes of the outputs are of
            self.memory = None
            self.profile = 0
            if strategy is not Strategy.USER_MANAGED:
                self.memory = cuda.memory.allocate(_ACTIVATION_BYTES)
                weakref.finalize(self, cuda.memory.free, self.memory)
            weakref.finalize(self, self.state.end, cuda.faults)

        def set_device_memory(self, memory, size):
            assert size >= _ACTIVATION_BYTES and memory % _ALIGNMENT == 0
            self.memory = memory
            self.state.version += 1

        def set_optimization_profile_async(self, index, stream):
            assert not self.shapes, "the profile is chosen before shapes are set"
            cuda.stream(stream)
            self.profile = index
            return index < profiles

        def set_input_shape(self, name, shape):
            self._bind(self.shapes, name, tuple(shape))
            return name in inputs and (name == "keep" or batches[0] <= shape[0] <= batches[1])

        def set_tensor_address(self, name, address):
            assert address % _ALIGNMENT == 0
            self._bind(self.addresses, name, address)
            return name in tensors

        def _bind(self, bound, name, value):
            if bound.get(name) != value:
                self.state.version += 1
            bound[name] = value

        def infer_shapes(self):
            if trt.shapeless:
                raise RuntimeError("infer_shapes error code: -1")
            beside = [name for name in inputs if name != "keep"]
            feeds = {name: np.zeros(self.shapes[name], _TYPES[inputs[name].type][1]) for name in beside}
            if "keep" in inputs:
                nbytes = 8 * self.shapes["keep"][0]
                feeds["keep"] = cuda.memory.view(self.addresses["keep"], nbytes).view(np.int64)
                if not keep_on_host:  # not there yet: its values decide no shape
                    feeds["keep"] = np.ones_like(feeds["keep"])
            outputs = [name for name in tensors if name not in inputs]
            for name, array in zip(outputs, session.run(outputs, feeds)):
                self.shapes[name] = array.shape
            self.inferred = self.state.version
            return []

        def get_tensor_shape(self, name):
            return self.shapes[name]

        def execute_async_v3(self, stream):
            stream, state, memory = cuda.stream(stream), self.state, self.memory
            if trt.refuses or (stream.recording is not None and not state.warm):
                return False  # the first run with new shapes and addresses does what cannot be recorded
            assert memory is not None, "a run without memory for its activations"
            assert cuda.memory.users.setdefault(memory, stream) is stream, "two streams share memory for activations"
            trt.runs += 1
            trt.profiles_run.append(self.profile)
            version = state.version
            if self.inferred != version:
                self.infer_shapes()
            shapes, addresses, profiler = dict(self.shapes), dict(self.addresses), self.profiler

            def view(name):
                dtype = np.dtype(_TYPES[tensors[name].type][1])
                nbytes = int(np.prod(shapes[name])) * dtype.itemsize
                return cuda.memory.view(addresses[name], nbytes).view(dtype).reshape(shapes[name])

            def replay() -> None:
                assert state.version == version, "a graph of an execution context that was bound to something else"
                assert state.alive, "a graph of an execution context that is gone"
                state.pending += 1

            def compute() -> None:
                cuda.memory.view(memory, _ACTIVATION_BYTES)[:] = POISON
                outputs = [name for name in tensors if name not in inputs]
                for name, array in zip(outputs, session.run(outputs, {name: view(name) for name in inputs})):
                    view(name)[...] = array
                if profiler is not None:
                    profiler.report_layer_time("__myl_Conv_myl0_0", 0.5)
                    profiler.report_layer_time("wait", 0.25)
                state.pending -= 1
                state.done = version

            if stream.recording is None:
                state.pending += 1
            stream.add(compute, replay)
            return True

    class Inspector:
        def get_layer_information(self, index, form):
            assert form is trt.LayerInformationFormat.JSON
            metadata = ["[ONNX Layer: embed/node_conv2d]", ""][index]
            return json.dumps({"Name": ["__myl_Conv_myl0_0", "wait"][index], "Metadata": metadata})

    class Engine:
        num_io_tensors = len(tensors)
        num_layers = 2
        num_optimization_profiles = profiles
        device_memory_size_v2 = _ACTIVATION_BYTES

        def get_tensor_name(self, index):
            return list(tensors)[index]

        def get_tensor_dtype(self, name):
            return SimpleNamespace(name=_TYPES[tensors[name].type][0])

        def get_tensor_location(self, name):
            return trt.TensorLocation.HOST if name == "keep" and keep_on_host else trt.TensorLocation.DEVICE

        def get_tensor_mode(self, name):
            return trt.TensorIOMode.INPUT if name in inputs else trt.TensorIOMode.OUTPUT

        def get_tensor_shape(self, name):
            return tuple(size if isinstance(size, int) else -1 for size in tensors[name].shape)

        def get_tensor_profile_shape(self, name, profile):
            return tuple((batch, *self.get_tensor_shape(name)[1:]) for batch in (batches[0], *batches))

        def create_engine_inspector(self):
            return Inspector()

        def create_execution_context(self, strategy=Strategy.STATIC):
            if trt.contexts_left == 0:
                return None
            trt.contexts += 1
            trt.contexts_left -= 1
            return Context(self, strategy)

    class Runtime:
        def __init__(self, log) -> None:
            self.log = log

        def deserialize_cuda_engine(self, data):
            return Engine() if data.startswith(b"engine") else None

    trt.ILogger, trt.IProfiler, trt.Runtime = ILogger, IProfiler, Runtime
    return trt
