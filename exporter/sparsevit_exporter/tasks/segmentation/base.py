"""What a head of segmentation is to the exporter: its network, what its graph answers, how that is compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.windows.geometry import PATCH_SIZE

from ...heads.mask2former.labels import POST_PROCESSINGS, PostProcessing
from ...networks import HeadedModel
from ...options import TaskOptions
from ...parity_report import ParityRow, ParityRun
from ..base import HeadConfig


@dataclass(frozen=True)
class SegmentationOptions(TaskOptions):
    """Export options of segmentation.

    Attributes:
        label_stride: pixels per label, 1, 2 or 4.
        post_processing: way from masks to labels, of heads that predict masks (`heads.mask2former.labels`); None for
            ``detectron2``. Other heads take None alone.
    """

    label_stride: int = 2
    post_processing: PostProcessing | None = None

    def __post_init__(self) -> None:
        if self.label_stride not in (1, 2, 4):
            raise ExportError(f"label_stride is {self.label_stride}; the head's logits allow 1, 2 or 4")
        if self.post_processing not in (None, *POST_PROCESSINGS):
            raise ExportError(
                f"post_processing {self.post_processing!r} is not one of {', '.join(POST_PROCESSINGS)}; choose one"
            )

    def label_hw(self, input_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the label map of an input of that size in pixels."""
        return -(-input_hw[0] // self.label_stride), -(-input_hw[1] // self.label_stride)

    @property
    def scale(self) -> int:
        """Labels for each score of the head, along one side."""
        return PATCH_SIZE // self.label_stride


class Segmenter(HeadedModel):
    """A network of segmentation, with any of its heads."""

    task = "segmentation"


Answer = TypeVar("Answer")


class Head(ABC, Generic[Answer]):
    """A head of segmentation. A new one is a subclass in a file of its own, and an entry in `tasks.segmentation.HEADS`.

    Attributes:
        name: name in checkpoints and recipes.
        network: class of its networks.
        config: arguments that rebuild it.
        compared_only: outputs of the deployed head that are compared with PyTorch, and then dropped from the file.
        predicts_masks: there is a choice of post-processings.
    """

    name: ClassVar[str]
    network: ClassVar[type[Segmenter]]
    config: ClassVar[type[HeadConfig]] = HeadConfig
    compared_only: ClassVar[tuple[str, ...]]
    predicts_masks: ClassVar[bool] = False

    @abstractmethod
    def deploy(self, head: Any, input_hw: tuple[int, int], options: SegmentationOptions) -> nn.Module:
        """As `Task.deploy`; `head` is the network's."""

    @abstractmethod
    def compare(self, run: ParityRun, expected: Answer, outputs: Mapping[str, Tensor]) -> list[ParityRow]:
        """As `Task.compare`, but for the labels."""

    @abstractmethod
    def answer_in(self, outputs: Mapping[str, Tensor]) -> Answer:
        """The network's answer, as the outputs that are compared only hold it."""

    @abstractmethod
    def labels(self, answer: Answer, options: SegmentationOptions, input_hw: tuple[int, int]) -> Tensor:
        """The label map (B, h, w) uint8 that a file answers with."""

    @abstractmethod
    def in_file(self, card: ModelCard, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """As `Task.head_in_file`; None where the weights are another head's."""
