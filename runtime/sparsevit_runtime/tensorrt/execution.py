"""TensorRT's execution context of an engine, and what it is bound to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..cuda import DeviceView, Stream
from ..errors import BackendError
from .engine import Engine
from .shapes import Prepared
from .slot import Slot


class Execution:
    """TensorRT's execution context, bound to one slot and one batch size and `keep` at a time.

    It keeps to one optimisation profile: to change it would have TensorRT set up its layers anew at the next run. Its
    activations lie in memory that it is lent. Executions on one stream can share that memory: their runs are one
    after the other.

    Threads: one at a time.

    Attributes:
        context: TensorRT's.
    """

    def __init__(
        self, engine: Engine, make: Callable[[], Any], activations: DeviceView, profile: int, stream: Stream
    ) -> None:
        """
        Args:
            make: function of `capabilities.context_maker`.
            activations: memory as the engine asks for it; lives longer than this.
            profile: number of the optimisation profile.
            stream: stream of the runs.

        Raises:
            BackendError: TensorRT does not make one.
        """
        self._engine = engine
        self.context = make()
        if self.context is None:
            raise BackendError(f"TensorRT cannot make a context of {engine.path}: {engine.log.summary()}")
        if profile:  # a new one has the first
            self._accept(self.context.set_optimization_profile_async(profile, stream.address), f"profile {profile}")
        self.context.set_device_memory(activations.address, activations.nbytes)
        self._bound: tuple[Prepared, Slot] | None = None

    def bind(self, slot: Slot, prepared: Prepared) -> None:
        """Takes the buffers of a slot for the next runs; fills in the output shapes where they are not known yet."""
        if self._bound == (prepared, slot):
            return
        self._bound = None
        self._set_inputs(slot.input_addresses(), prepared)
        for name, address in slot.addresses().items():
            self._accept(self.context.set_tensor_address(name, address), f"the address of {name}")
        if not prepared.output_shapes:
            self._infer_shapes()
            prepared.output_shapes = {name: self._shape(name) for name in self._engine.outputs}
        self._bound = prepared, slot

    def enqueue(self, stream: Stream) -> None:
        """Queues a run with what was bound last."""
        self._accept(self.context.execute_async_v3(stream.address), "the run")

    def shapes(self, prepared: Prepared) -> dict[str, tuple[int, ...]]:
        """Shapes of all outputs, for a batch size and `keep`."""
        self._bound = None
        self._set_inputs({}, prepared)
        self._infer_shapes()
        return {name: self._shape(name) for name in self._engine.outputs}

    def _set_inputs(self, addresses: Mapping[str, int], prepared: Prepared) -> None:
        """Binds all inputs; those without an address get their shape only."""
        keep, context = self._engine.keep, self.context
        for tensor in (self._engine.image, *self._engine.frame_inputs):
            shape = (prepared.batch, *tensor.shape)
            self._accept(context.set_input_shape(tensor.name, shape), f"{tensor.name} of shape {shape}")
            if tensor.name in addresses:
                address = addresses[tensor.name]
                self._accept(context.set_tensor_address(tensor.name, address), f"the address of {tensor.name}")
        if keep is not None:
            pairs = tuple(self._engine.engine.get_tensor_shape(keep.name))
            self._accept(context.set_input_shape(keep.name, pairs), f"{pairs[0]} counts in keep")
            self._accept(context.set_tensor_address(keep.name, prepared.keep_address), "the address of keep")

    def _infer_shapes(self) -> None:
        try:
            missing = self.context.infer_shapes()
        except RuntimeError as error:  # a code of its own, the reason is in the log
            raise BackendError(
                f"TensorRT cannot tell the output shapes of {self._engine.path.name} ({error}): "
                f"{self._engine.log.summary()}"
            ) from error
        if missing:
            raise BackendError(f"TensorRT cannot tell the output shapes of {self._engine.path.name} without {missing}")

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.context.get_tensor_shape(name))

    def _accept(self, taken: bool, what: str) -> None:
        if not taken:
            raise BackendError(f"TensorRT refuses {what} in {self._engine.path.name}: {self._engine.log.summary()}")
