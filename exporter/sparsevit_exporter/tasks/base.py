"""What a task is to the exporter: its networks, what their graphs answer, and how that is compared and read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping
from dataclasses import fields
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sparsevit_runtime.card import ModelCard, ObjectsCard
from sparsevit_runtime.errors import CheckpointError, ExportError
from sparsevit_runtime.windows.geometry import StageGeometry, stage_geometries

from ..backbone import SparseViT
from ..options import TaskOptions
from ..parity_report import ParityRow, ParityRun


class HeadConfig(BaseModel):
    """Arguments that rebuild a head, as native checkpoints hold them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    num_classes: int = Field(ge=1)
    channels: int = Field(ge=1)


Options = TypeVar("Options", bound=TaskOptions)


class Task(ABC, Generic[Options]):
    """A task. A new one is a subclass in a file of its own, and `tasks.register`.

    Networks of a task are called with (images, ratios=None, keep=None, orders=None) as `SparseViT.forward` is, and hand
    those on to their backbone; `networks.HeadedModel` does.

    Attributes:
        name: name in checkpoints and model cards.
        network: class of its networks.
        head_config: arguments that rebuild a network's head; None for networks without one.
        options: type of the task's own export options.
        compared_only: outputs of the deployed head that are compared with PyTorch, and then dropped from the file.
        float_maps: the deployed head takes maps in float32, whatever the precision.
        pad_multiple: number of pixels that the network pads images to a multiple of, see `InputCard`.
    """

    name: ClassVar[str]
    network: ClassVar[type[nn.Module]]
    head_config: ClassVar[type[HeadConfig] | None] = HeadConfig
    options: ClassVar[type[TaskOptions]] = TaskOptions
    compared_only: ClassVar[tuple[str, ...]] = ()
    float_maps: ClassVar[bool] = False
    pad_multiple: ClassVar[int] = 1

    def backbone_of(self, network: nn.Module) -> SparseViT:
        """The backbone of one of the task's networks."""
        return network.backbone  # type: ignore[return-value]

    def stages(self, network: nn.Module, height: int, width: int) -> tuple[StageGeometry, ...]:
        """Window geometry of a network for images of (height, width) pixels."""
        backbone, multiple = self.backbone_of(network), self.pad_multiple
        padded = height + -height % multiple, width + -width % multiple
        return stage_geometries(*padded, backbone.depths, backbone.window_size)

    def resize(self, options: Options) -> Literal["letterbox", "stretch"]:
        """How a frame comes to the input's size, as the card says it."""
        return "letterbox"

    def network_in(self, network: nn.Module, task: Task[Any]) -> nn.Module | None:
        """What this task exports of a network of `task`: all of it, a part, or None where it lacks the head."""
        return network if task.name == self.name else None

    def class_count(self, network: nn.Module) -> int:
        """How many classes a model card must name."""
        return int(network.head_config["num_classes"])  # type: ignore[index]

    def build(self, backbone: SparseViT, head: Mapping[str, Any]) -> nn.Module:
        """A network with new weights in its head.

        Args:
            backbone: part of it.
            head: arguments of `head_config`; empty for networks without a head.
        """
        return self.network(backbone, **head)

    @abstractmethod
    def deploy(self, network: nn.Module, input_hw: tuple[int, int], options: Options) -> nn.Module:
        """The head as it is traced: (B, C, H, W) maps of all stages -> outputs by name, batch first.

        Its parts have the names that they have in the network, so that the file's weights have them, too. Batch norms
        are folded afterwards.

        Args:
            network: network in eval mode; may be taken apart.
            input_hw: pixels.
            options: options of the task.
        """

    def remark(self, network: nn.Module, options: Options) -> str:
        """What the card shall say of the answers beyond the task's name, in its `producer`; empty for nothing."""
        return ""

    def objects(self, network: nn.Module, options: Options) -> ObjectsCard:
        """How objects are read from the answers, as the card says it."""
        return ObjectsCard()

    @abstractmethod
    def compare(self, run: ParityRun, expected: Any, outputs: Mapping[str, Tensor]) -> list[ParityRow]:
        """Compares the graph's outputs with PyTorch.

        Args:
            run: makes the rows.
            expected: answer of the network for the same images and windows.
            outputs: outputs of the graph, by name.
        """

    def head_in_file(self, card: ModelCard, weights: MutableMapping[str, Tensor]) -> dict[str, Any]:
        """Arguments of `head_config`, told from an exported file.

        Args:
            card: card of the file.
            weights: weights of the trained network, by `state_dict` key; a task may add those that a file never holds.

        Raises:
            CheckpointError: this task's files cannot be read back.
        """
        raise CheckpointError(f"files of task {self.name} cannot be read back; use the checkpoint it was made of")

    def agreement(self, answer: Any, outputs: Mapping[str, Tensor], card: ModelCard) -> float:
        """Share, 0 to 1, of a file's answers to one image that a network read back from it gives, too.

        Args:
            answer: answer of the network.
            outputs: outputs of the file, by name.
            card: card of the file.
        """
        raise NotImplementedError(f"{type(self).__name__} says how a head is told from a file, so it says this as well")

    def parse_options(self, given: Mapping[str, Any]) -> Options:
        """The task's options from names and values, as a command line has them.

        Raises:
            ExportError: a name that the task does not have, or a value that it does not take.
        """
        known = [field.name for field in fields(self.options)]
        for name in given:
            if name not in known:
                takes = f"it takes {', '.join(known)}" if known else "it takes none of its own"
                raise ExportError(f"{name} is no option of {self.name}: {takes}")
        return self.options(**given)  # type: ignore[return-value]

    def check_options(self, options: TaskOptions | None) -> Options:
        """Those given, or the task's defaults.

        Raises:
            ExportError: they are another task's.
        """
        if options is not None and not isinstance(options, self.options):
            raise ExportError(f"{type(options).__name__} are no options of {self.name}; give {self.options.__name__}")
        return self.options() if options is None else options  # type: ignore[return-value]
