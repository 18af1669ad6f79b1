"""The model card: what a model file says about itself, stored as JSON in the ONNX metadata.

The card is everything the runtime needs beyond the graph: task, classes, input geometry, window plan, and the outputs
recorded at export against which `sparsevit check` compares a machine.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import CardError
from .windows.geometry import StageGeometry, stage_geometries
from .windows.plan import Plan

CARD_SCHEMA: Literal[1] = 1
#: Key of the card in the ONNX file's metadata.
CARD_KEY = "sparsevit_card"

# Whoever wrote the card: what it says must not cost memory or time before the graph has been looked at.
_Name = Annotated[str, Field(max_length=256)]
_Text = Annotated[str, Field(max_length=65536)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
# What pixels are normalised by: beyond, their float32 would be no number.
_Mean = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
_Std = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
_Pixels = Annotated[int, Field(ge=1, le=65536)]
_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Byte = Annotated[int, Field(ge=0, le=255)]
#: Pixels of an image, at most.
_IMAGE_SIZE = 1 << 28
#: Elements of an input that comes with each frame, at most.
_FRAME_INPUT_SIZE = 1 << 24


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputCard(_Part):
    """Geometry of the graph's `image` input.

    Attributes:
        height, width: pixels.
        layout: ``camera`` is (B, H, W, 3) uint8 BGR; ``normalized`` is (B, 3, H, W) float32 RGB, already normalised.
        resize: way from a frame to the input: ``letterbox`` keeps the aspect and fills the rest with grey, ``stretch``
            scales each axis by itself.
        mean, std: RGB normalisation folded into the weights (``camera``) or expected of the caller (``normalized``).
        pad_value: grey level of letterbox borders.
        pad_multiple: number of pixels; the graph pads the normalised image with zeros, at the bottom and on the right,
            to a multiple of it, and its windows lie on what that gives.
    """

    height: _Pixels
    width: _Pixels
    layout: Literal["camera", "normalized"] = "camera"
    resize: Literal["letterbox", "stretch"] = "letterbox"
    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Std, _Std, _Std]
    pad_value: _Byte = 114
    pad_multiple: Annotated[int, Field(ge=1, le=1024)] = 1

    @model_validator(mode="after")
    def _possible(self) -> InputCard:
        if self.height * self.width > _IMAGE_SIZE:
            raise ValueError(f"height {self.height} x width {self.width}, at most {_IMAGE_SIZE} pixels")
        return self

    @property
    def padded_hw(self) -> tuple[int, int]:
        """Height and width in pixels of what the graph computes on, see `pad_multiple`."""
        height, width = self.height, self.width
        return height + -height % self.pad_multiple, width + -width % self.pad_multiple


class FrameInputCard(_Part):
    """An input of the graph that comes with each frame beside its pixels, e.g. a homography.

    Attributes:
        name: name of the graph's input.
        dtype: type of its elements.
        shape: shape of one frame's, without the batch.
    """

    name: str = Field(pattern=r"^[A-Za-z_]\w{0,63}$")
    dtype: Literal["float32", "float16", "int64", "int32", "uint8"] = "float32"
    shape: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(max_length=6)

    @model_validator(mode="after")
    def _free_name(self) -> FrameInputCard:
        if self.name in ("image", "keep"):
            raise ValueError(f"{self.name!r} is an input of every model")
        if math.prod(self.shape) > _FRAME_INPUT_SIZE:
            raise ValueError(f"{math.prod(self.shape)} elements of {self.name!r}, at most {_FRAME_INPUT_SIZE}")
        return self


class WindowCard(_Part):
    """Window plan of the backbone.

    Attributes:
        window_size: tokens along one side of a window.
        depths: blocks per stage.
        fixed: pruning ratios per block when the plan is frozen into the graph; None when `keep` is an input.
    """

    window_size: int = Field(ge=1, le=256)
    depths: tuple[Annotated[int, Field(ge=1, le=256)], ...] = Field(min_length=1, max_length=8)
    fixed: tuple[tuple[_Finite, ...], ...] | None = None

    @model_validator(mode="after")
    def _fixed_fits(self) -> WindowCard:
        if self.fixed is not None:
            blocks = tuple(len(stage) for stage in Plan(self.fixed).ratios)
            if blocks != self.depths:
                raise ValueError(f"fixed has {list(blocks)} blocks per stage, depths are {list(self.depths)}")
        return self


class FrontCard(_Part):
    """The convolutional front of a network that has one.

    Attributes:
        width: channels of its stem.
        macs: multiply-accumulates of one image.
    """

    width: int = Field(ge=1, le=65536)
    macs: Annotated[int, Field(ge=0, le=10**18)]


class ArchitectureCard(_Part):
    """Size of the network, for display.

    Attributes:
        embed_dim, num_heads: channels of the first stage, and heads of each.
        parameters: number of weights.
        head_macs: multiply-accumulates of one image behind the backbone, by part (`graph.parts`); empty where nobody
            counted them.
        front: convolutional front, if any.
    """

    embed_dim: int = Field(ge=1, le=65536)
    num_heads: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(max_length=8)
    parameters: int = Field(ge=0, le=10**13)
    head_macs: dict[_Name, Annotated[int, Field(ge=0, le=10**18)]] = Field(default_factory=dict, max_length=64)
    front: FrontCard | None = None


class ObjectsCard(_Part):
    """How objects are read from the answers of a detector.

    Attributes:
        threshold: least score where a caller names none; None for 0.25.
        nms_iou: overlap from which, of two boxes of one class, that of the poorer score is left out; None where the
            graph names each object once.
    """

    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    nms_iou: Annotated[float, Field(gt=0, le=1)] | None = None


class ClassCard(_Part):
    name: _Name
    color: tuple[_Byte, _Byte, _Byte] | None = None  # RGB


class CheckCard(_Part):
    """Outputs recorded at export for one seeded probe image and one `keep`.

    Attributes:
        seed: seed of `probe.probe_image`.
        keep: windows per block pair; None for a fixed export.
        outputs: records, one per graph output: sampled positions into the flattened array, the values there, and the
            tolerances: a value agrees when ``|a - b| <= atol + rtol * |b|``; `min_agreement` is the share that must
            agree.
    """

    class Output(_Part):
        name: _Name
        shape: tuple[_Count, ...] = Field(max_length=8)
        positions: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, max_length=1 << 20)
        values: tuple[_Finite, ...]
        atol: float = Field(ge=0, allow_inf_nan=False)
        rtol: float = Field(ge=0, allow_inf_nan=False)
        min_agreement: float = Field(ge=0, le=1)

        @model_validator(mode="after")
        def _same_length(self) -> CheckCard.Output:
            if len(self.positions) != len(self.values):
                raise ValueError(f"{len(self.positions)} positions but {len(self.values)} values")
            if max(self.positions) >= math.prod(self.shape):
                raise ValueError(f"position {max(self.positions)} in an array of shape {list(self.shape)}")
            return self

    seed: int = Field(ge=0, le=2**32 - 1)
    keep: tuple[_Count, ...] | None
    outputs: tuple[Output, ...] = Field(min_length=1, max_length=64)


class MetricCard(_Part):
    """One measured figure, e.g. mIoU on CamVid test at 50% pruned."""

    name: _Name
    dataset: _Name
    ratio: float = Field(ge=0, le=1)
    value: _Finite
    unit: _Name = ""


class TrainingCard(_Part):
    """Where the weights come from."""

    data: _Text
    licence: _Text
    recipe: _Text = ""


class ModelCard(_Part):
    """Schema-versioned description embedded in every exported file.

    Attributes:
        task: name in the registry of tasks, which decides whether this version knows it.
        inputs: the graph's inputs beside `image` and `keep`.
    """

    schema_version: Literal[1] = CARD_SCHEMA
    name: _Name
    task: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    precision: Literal["fp32", "fp16"]
    input: InputCard
    inputs: tuple[FrameInputCard, ...] = Field(default=(), max_length=64)
    windows: WindowCard
    architecture: ArchitectureCard
    classes: tuple[ClassCard, ...] = Field(default=(), max_length=65536)
    objects: ObjectsCard = ObjectsCard()
    checks: tuple[CheckCard, ...] = Field(default=(), max_length=64)
    metrics: tuple[MetricCard, ...] = Field(default=(), max_length=4096)
    training: TrainingCard | None = None
    producer: _Text = ""

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelCard:
        names = [extra.name for extra in self.inputs]
        if len(set(names)) < len(names):
            raise ValueError(f"inputs: two of one name: {sorted(names)}")
        return self

    @property
    def stages(self) -> tuple[StageGeometry, ...]:
        """Window geometry of every stage at the model's input size."""
        return stage_geometries(*self.input.padded_hw, self.windows.depths, self.windows.window_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    def to_json(self) -> str:
        # So that earlier versions read what they can run.
        left_out: Any = {name: True for name in ("inputs", "objects") if not _differs(self, name)}
        defaults = {"resize": "letterbox", "pad_multiple": 1}
        left_out["input"] = {name for name, value in defaults.items() if getattr(self.input, name) == value}
        left_out["architecture"] = {name for name in ("head_macs", "front") if not getattr(self.architecture, name)}
        return self.model_dump_json(exclude=left_out)

    @classmethod
    def from_json(cls, text: str, origin: str = "the model") -> ModelCard:
        """Reads and validates a card.

        Args:
            text: JSON.
            origin: file or object named in errors.

        Raises:
            CardError: not JSON, a newer schema, or fields that do not validate.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:  # the former also for integers of thousands of digits
            raise CardError(f"the model card of {origin} is not JSON ({error}); export the model again") from error
        version = document.get("schema_version") if isinstance(document, dict) else None
        if isinstance(version, int) and version > CARD_SCHEMA:
            raise CardError(
                f"{origin} carries a model card of schema {version}, this version reads up to {CARD_SCHEMA}; "
                "upgrade sparsevit-edge"
            )
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise CardError(
                f"the model card of {origin} is invalid: {first_problem(error)} ({error.error_count()} problem(s)); "
                "export the model again with this version"
            ) from error


def _differs(card: ModelCard, name: str) -> bool:
    """Whether a field says more than its default."""
    return bool(getattr(card, name) != ModelCard.model_fields[name].default)


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a card, after the name of its field."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the card"
    return f"{where}: {first['msg']}"
