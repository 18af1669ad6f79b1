"""The model card: what a model file says about itself, stored as JSON in the ONNX metadata.

The card is everything the runtime needs beyond the graph: task, classes, input geometry, window plan, and the outputs
recorded at export against which `sparsevit check` compares a machine.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import CardError
from .windows.geometry import StageGeometry, stage_geometries

CARD_SCHEMA: Literal[1] = 1
#: Key of the card in the ONNX file's metadata.
CARD_KEY = "sparsevit_card"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputCard(_Part):
    """Geometry of the graph's `image` input.

    Attributes:
        height, width: pixels.
        layout: ``camera`` is (B, H, W, 3) uint8 BGR; ``normalized`` is (B, 3, H, W) float32 RGB, already normalised.
        mean, std: RGB normalisation folded into the weights (``camera``) or expected of the caller (``normalized``).
        pad_value: grey level of letterbox borders.
    """

    height: int = Field(ge=1)
    width: int = Field(ge=1)
    layout: Literal["camera", "normalized"] = "camera"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pad_value: int = Field(default=114, ge=0, le=255)


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
        return self


class WindowCard(_Part):
    """Window plan of the backbone.

    Attributes:
        window_size: tokens along one side of a window.
        depths: blocks per stage.
        fixed: pruning ratios per block when the plan is frozen into the graph; None when `keep` is an input.
    """

    window_size: int = Field(ge=1)
    depths: tuple[int, ...] = Field(min_length=1)
    fixed: tuple[tuple[float, ...], ...] | None = None


class ArchitectureCard(_Part):
    """Size of the network, for display."""

    embed_dim: int
    num_heads: tuple[int, ...]
    parameters: int


class ClassCard(_Part):
    name: str
    color: tuple[int, int, int] | None = None  # RGB


class CheckCard(_Part):
    """Outputs recorded at export for one seeded probe image and one `keep`.

    Attributes:
        seed: seed of `probe.probe_image`.
        keep: windows per block pair; None for a fixed export.
        outputs: per graph output, sampled positions into the flattened array, the values there, and the tolerances:
            a value agrees when ``|a - b| <= atol + rtol * |b|``; `min_agreement` is the share that must agree.
    """

    class Output(_Part):
        name: str
        shape: tuple[int, ...]
        positions: tuple[int, ...]
        values: tuple[float, ...]
        atol: float
        rtol: float
        min_agreement: float = Field(ge=0, le=1)

        @model_validator(mode="after")
        def _same_length(self) -> CheckCard.Output:
            if len(self.positions) != len(self.values):
                raise ValueError(f"{len(self.positions)} positions but {len(self.values)} values")
            return self

    seed: int
    keep: tuple[int, ...] | None
    outputs: tuple[Output, ...]


class MetricCard(_Part):
    """One measured figure, e.g. mIoU on CamVid test at 50% pruned."""

    name: str
    dataset: str
    ratio: float
    value: float
    unit: str = ""


class TrainingCard(_Part):
    """Where the weights come from."""

    data: str
    licence: str
    recipe: str = ""


class ModelCard(_Part):
    """Schema-versioned description embedded in every exported file.

    Attributes:
        task: name in the registry of tasks, which decides whether this version knows it.
        inputs: the graph's inputs beside `image` and `keep`.
    """

    schema_version: Literal[1] = CARD_SCHEMA
    name: str
    task: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    precision: Literal["fp32", "fp16"]
    input: InputCard
    inputs: tuple[FrameInputCard, ...] = ()
    windows: WindowCard
    architecture: ArchitectureCard
    classes: tuple[ClassCard, ...] = ()
    checks: tuple[CheckCard, ...] = ()
    metrics: tuple[MetricCard, ...] = ()
    training: TrainingCard | None = None
    producer: str = ""

    @property
    def stages(self) -> tuple[StageGeometry, ...]:
        """Window geometry of every stage at the model's input size."""
        return stage_geometries(self.input.height, self.input.width, self.windows.depths, self.windows.window_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    def to_json(self) -> str:
        left_out: Any = None if self.inputs else {"inputs"}  # so that earlier versions read what they can run
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
        except json.JSONDecodeError as error:
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
            first = error.errors()[0]
            where = ".".join(str(p) for p in first["loc"]) or "the card"
            raise CardError(
                f"the model card of {origin} is invalid: {where}: {first['msg']} ({error.error_count()} problem(s)); "
                "export the model again with this version"
            ) from error
