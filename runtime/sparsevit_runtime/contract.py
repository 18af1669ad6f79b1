"""What a model's graph takes and returns: every input and output with its type and shape, as card and task say it.

Backends check a file against it when they open it, and every call against it when they run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .card import CheckCard, ModelCard
from .errors import BackendError, CardError, FrameError, ModelError, PlanError
from .texts import shown
from .windows.plan import dense_keep, kept_windows, validate_keep

#: The symbolic first dimension of everything but `KEEP`.
BATCH = "batch"
#: The input with the frames.
IMAGE = "image"
#: The input with the windows computed per block pair; a fixed export has none.
KEEP = "keep"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: name as in the graph.
        dtype: type of the elements.
        shape: sizes; a text is a size that only the graph knows, equal wherever the text is.
        earlier: type that it has in files exported before, where that was another.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...]
    earlier: np.dtype | None = None

    @classmethod
    def of(cls, name: str, dtype: type | np.dtype, *shape: int | str) -> TensorSpec:
        return cls(name, np.dtype(dtype), shape)

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.shape))}) {self.dtype}"


@dataclass(frozen=True)
class GraphContract:
    """Inputs and outputs of one model.

    Attributes:
        card: card of the model.
        inputs: `IMAGE`, then `KEEP` unless the plan is fixed, then what the card names beside them.
        outputs: answers of the task, then window orders.
    """

    card: ModelCard
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, card: ModelCard, answers: Iterable[TensorSpec]) -> GraphContract:
        """
        Args:
            card: card of the model.
            answers: outputs of its task.
        """
        inputs = [image_spec(card)]
        if card.windows.fixed is None:
            inputs.append(TensorSpec.of(KEEP, np.int64, sum(stage.pairs for stage in card.stages)))
        inputs += [TensorSpec(extra.name, np.dtype(extra.dtype), (BATCH, *extra.shape)) for extra in card.inputs]
        return cls(card, tuple(inputs), (*answers, *order_specs(card)))

    @property
    def orders(self) -> tuple[str, ...]:
        """Names of the window orders among the outputs."""
        return tuple(spec.name for spec in order_specs(self.card))

    @property
    def frame_inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs that come with each frame beside its pixels."""
        return tuple(spec for spec in self.inputs if spec.name not in (IMAGE, KEEP))

    def check_graph(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], origin: str) -> None:
        """Checks what a file's graph has, by its static shapes; a symbolic size agrees with any.

        Args:
            inputs, outputs: those of the graph.
            origin: origin of the graph, for messages.

        Raises:
            ModelError: the card promises something else.
            CardError: it records outputs of something else.
        """
        sizes: dict[str, int] = {}
        if sorted(spec.name for spec in inputs) != sorted(spec.name for spec in self.inputs):
            found = {spec.name: str(spec) for spec in inputs}
            wanted = {spec.name: str(spec) for spec in self.inputs}
            raise ModelError(f"the inputs of {origin} are {found}, its card says {wanted}; export the model again")
        for kind, wanted_specs, found_specs in (("input", self.inputs, inputs), ("output", self.outputs, outputs)):
            by_name = {spec.name: spec for spec in found_specs}
            for spec in wanted_specs:
                have = by_name.get(spec.name)
                if have is None or not _agrees(spec, have, sizes):
                    raise ModelError(
                        f"{kind} {spec.name!r} of {origin} is {'missing' if have is None else have}, its card says "
                        f"{_filled(spec, sizes)}; export the model again"
                    )
        for i, record in enumerate(self.card.checks):
            problem = self._problem_of(record)
            if problem:
                raise CardError(f"the card of {origin} is invalid: checks.{i}.{problem}; export the model again")

    def _problem_of(self, record: CheckCard) -> str:
        """Why a record cannot be one of this graph; empty when it can."""
        if (record.keep is None) != (self.card.windows.fixed is not None):
            return f"keep is {record.keep}, the plan is {'an input' if record.keep is None else 'fixed'}"
        if record.keep is not None:
            try:
                validate_keep(record.keep, self.card.stages)
            except PlanError as error:
                return f"keep: {error}"
        names = [spec.name for spec in self.outputs]
        unknown = [output.name for output in record.outputs if output.name not in names]
        return f"outputs: {shown(unknown[0])} is none of {', '.join(names)}" if unknown else ""

    def check_feeds(self, feeds: Mapping[str, np.ndarray], origin: str) -> dict[str, np.ndarray]:
        """The inputs of one run, contiguous; `KEEP` computes all windows where it is left out.

        Args:
            feeds: arrays by name.
            origin: origin of the graph, for messages.

        Raises:
            FrameError: an input is missing, or has another type or shape.
            PlanError: `KEEP` does not fit the model.
            BackendError: the graph has no such input.
        """
        return self.check_inputs(feeds, origin, with_image=True)

    def check_inputs(
        self, feeds: Mapping[str, np.ndarray], origin: str, *, with_image: bool, batch: int | None = None
    ) -> dict[str, np.ndarray]:
        """`check_feeds` where the image comes another way.

        Args:
            feeds, origin: the same as in `check_feeds`.
            with_image: `IMAGE` is among them.
            batch: frames, where there is no image to tell.
        """
        known = [spec for spec in self.inputs if with_image or spec.name != IMAGE]
        unknown = set(feeds) - {spec.name for spec in known}
        if unknown and KEEP in unknown and self.card.windows.fixed is not None:
            raise PlanError(f"{origin} is a fixed export, its plan cannot change; leave `keep` out")
        if unknown:
            raise BackendError(
                f"{origin} has no input {min(unknown)!r}; it takes {', '.join(spec.name for spec in known)}"
            )
        checked = {}
        for spec in known:
            if spec.name == KEEP:
                keep = feeds.get(KEEP)
                checked[KEEP] = dense_keep(self.card.stages) if keep is None else validate_keep(keep, self.card.stages)
                continue
            if spec.name not in feeds:
                raise FrameError(f"{origin} takes {spec.name!r} {spec} with each frame, and got none")
            array = checked[spec.name] = _checked(spec, np.asarray(feeds[spec.name]), batch)
            batch = len(array)
        return checked

    def check_keep(self, keep: np.ndarray | None, origin: str) -> np.ndarray | None:
        """`KEEP` of a run: all windows where it is None, and nothing of a fixed export.

        Args:
            keep: windows per block pair.
            origin: origin of the graph, for messages.

        Raises:
            PlanError: it does not fit the model.
        """
        if self.card.windows.fixed is None:
            return dense_keep(self.card.stages) if keep is None else validate_keep(keep, self.card.stages)
        if keep is not None:
            raise PlanError(f"{origin} is a fixed export, its plan cannot change; leave `keep` out")
        return None

    def check_outputs(self, names: Sequence[str], known: Sequence[str], origin: str) -> tuple[str, ...]:
        """The names, when `known` has all of them. Raises BackendError otherwise."""
        unknown = [name for name in names if name not in known]
        if unknown:
            raise BackendError(f"{origin} has no output {unknown[0]!r}; it has {', '.join(known)}")
        return tuple(names)


def image_spec(card: ModelCard) -> TensorSpec:
    """`IMAGE`: (B, H, W, 3) uint8 BGR of a card of layout ``camera``, (B, 3, H, W) float32 of ``normalized``."""
    size = card.input.height, card.input.width
    if card.input.layout == "camera":
        return TensorSpec.of(IMAGE, np.uint8, BATCH, *size, 3)
    return TensorSpec.of(IMAGE, np.float32, BATCH, 3, *size)


def order_specs(card: ModelCard) -> tuple[TensorSpec, ...]:
    """The window orders: ids by descending score, (B, n) int32, for each parity of each stage that sorts its windows.
    Files exported before have them in int64.

    With `KEEP` as an input all windows are sorted. A fixed export sorts as many as the block that computes most of
    them computes, and none where every block computes all or nothing.
    """
    specs = []
    for i, stage in enumerate(card.stages):
        for parity, prefix in enumerate(("windows", "shifted_windows")):
            blocks = range(parity, stage.depth, 2)
            longest = stage.windows if blocks else 0
            if card.windows.fixed is not None:
                counts = (kept_windows(stage.windows, card.windows.fixed[i][j]) for j in blocks)
                longest = max((count for count in counts if count < stage.windows), default=0)
            if longest:
                shape = (BATCH, longest)
                specs.append(TensorSpec(f"{prefix}{i}", np.dtype(np.int32), shape, earlier=np.dtype(np.int64)))
    return tuple(specs)


def _agrees(wanted: TensorSpec, have: TensorSpec, sizes: dict[str, int]) -> bool:
    """Whether a graph's tensor is what it should be; notes what the graph says of symbolic sizes."""
    types = (wanted.dtype,) if wanted.earlier is None else (wanted.dtype, wanted.earlier)
    if have.dtype not in types or len(have.shape) != len(wanted.shape):
        return False
    for size, found in zip(wanted.shape, have.shape):
        expected = sizes.get(size) if isinstance(size, str) else size
        if not isinstance(found, int):
            continue
        if expected is None:
            sizes[str(size)] = found
        elif found != expected:
            return False
    return True


def _filled(spec: TensorSpec, sizes: Mapping[str, int]) -> TensorSpec:
    known = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in spec.shape)
    return replace(spec, shape=known)


def _checked(spec: TensorSpec, array: np.ndarray, batch: int | None) -> np.ndarray:
    fits = array.dtype == spec.dtype and array.ndim == len(spec.shape) and array.shape[0] >= 1
    if not fits or array.shape[1:] != spec.shape[1:] or (batch is not None and len(array) != batch):
        count = "B" if batch is None else batch
        called = "images" if spec.name == IMAGE else spec.name
        raise FrameError(
            f"{called} must be ({', '.join(map(str, (count, *spec.shape[1:])))}) {spec.dtype}, got {array.shape} "
            f"{array.dtype}"
        )
    return np.ascontiguousarray(array)


def feeds_of(images: np.ndarray, keep: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Inputs of a run by name, for a model that takes nothing beside images and `keep`; None leaves `keep` out."""
    return {IMAGE: images} if keep is None else {IMAGE: images, KEEP: keep}


def zero_inputs(contract: GraphContract, batch: int) -> dict[str, np.ndarray]:
    """Zeros for what a model takes with each frame beside its pixels, (batch, ...) by name; most take nothing."""
    return {
        spec.name: np.zeros((batch, *(int(size) for size in spec.shape[1:])), spec.dtype)
        for spec in contract.frame_inputs
    }
