"""The parts of a training recipe; `recipe` puts them together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sparsevit_runtime.errors import SparseViTError


class RecipeError(SparseViTError, ValueError):
    """A recipe cannot be read, or says something impossible."""


class Part(BaseModel):
    """Base of a recipe and its parts: frozen, and no key beside those it names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class _DataPart(Part):
    """What all training data sets share.

    Attributes:
        share: weight with which samples are drawn, relative to the other data sets.
        until: progress of the training (0 to 1) after which no more samples are drawn.
    """

    share: float = Field(default=1.0, gt=0)
    until: float = Field(default=1.0, gt=0, le=1)


class SemanticFolderData(_DataPart):
    """Labelled folder in CamVid layout; see `datasets.SemanticFolder`."""

    kind: Literal["semantic_folder"]
    root: Path
    splits: tuple[str, ...] = Field(min_length=1)
    void: tuple[int, ...] = ()
    every: int = Field(default=1, ge=1)
    offset: int = Field(default=0, ge=0)
    exclude: bool = False


class CoarseFolderData(_DataPart):
    """Folder whose labels are coarser than the classes; see `datasets.CoarseFolder`."""

    kind: Literal["coarse_folder"]
    root: Path
    splits: tuple[str, ...] = Field(min_length=1)
    groups: dict[Annotated[int, Field(ge=0, lt=255)], Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        min_length=1
    )
    every: int = Field(default=1, ge=1)
    offset: int = Field(default=0, ge=0)
    exclude: bool = False


class StreetData(_DataPart):
    """Rendered street with CamVid's classes; see `datasets.SyntheticStreet`."""

    kind: Literal["street"]
    scenes: int = Field(default=48, ge=1)
    frames_per_scene: int = Field(default=6, ge=1)
    width: int = Field(default=640, ge=32)
    height: int = Field(default=480, ge=32)
    seed: int = 1000


class UnlabelledData(_DataPart):
    """Images and clips without labels, used by distillation alone; see `datasets.UnlabelledImages`."""

    kind: Literal["unlabelled"]
    paths: tuple[Path, ...] = Field(min_length=1)
    frames_per_clip: int = Field(default=48, ge=1)


class CocoData(_DataPart):
    """COCO JSON: its boxes for detection (`datasets.CocoBoxes`), with the mask of each for instance segmentation
    (`datasets.CocoInstances`), a map of all masks for segmentation (`datasets.CocoMasks`).

    Attributes:
        background: name, for segmentation, of the class of pixels that are of no category; it comes first.
    """

    kind: Literal["coco"]
    annotations: Path
    images: Path
    categories: tuple[str, ...] = Field(min_length=1)
    background: str = "background"


TrainingData = Annotated[
    SemanticFolderData | CoarseFolderData | StreetData | UnlabelledData | CocoData,
    Field(discriminator="kind"),
]


#: Modules that have weights without a `start`: the front, and what brings its maps to the stages where they are grown.
_GROWN = ("backbone.front.features", "backbone.front")


class ModelRecipe(Part):
    """Architecture; the number of classes comes from the data.

    Attributes:
        start: model to fine-tune: see `start_from`.
        head: one of those that the task can be trained with: ``pyramid``, or for segmentation ``mlp``, or for detection
            ``yolox``, which names an object several times and needs NMS.
        frozen: modules that keep the weights of `start`, such as ``backbone`` or ``head.pyramid``, or those of
            `front_weights`: ``backbone.front.features``; all of ``backbone.front`` where a ``yolox`` head is grown.
        front_width: channels of the stem of a convolutional front, 0 for none; see `SparseViT`.
        front_weights: ONNX file of a YOLOX of that width, which the front's convolutions come from, and what stands
            behind it where the head is ``yolox`` (see `growing`); not needed where `start` has a front.
    """

    embed_dim: int = Field(default=32, ge=1)
    depths: tuple[Count, ...] = Field(default=(2, 2, 6, 2), min_length=2)
    num_heads: tuple[Count, ...] = (1, 2, 4, 8)
    window_size: int = Field(default=7, ge=2)
    drop_path_rate: float = Field(default=0.1, ge=0, lt=1)
    head: str = "pyramid"
    head_channels: int = Field(default=64, ge=1)
    start: Path | None = None
    frozen: tuple[str, ...] = ()
    front_width: int = Field(default=0, ge=0)
    front_weights: Path | None = None

    @model_validator(mode="after")
    def _frozen_has_a_start(self) -> ModelRecipe:
        given = () if self.front_weights is None else _GROWN if self.head == "yolox" else _GROWN[:1]
        if self.start is None and any(name not in given for name in self.frozen):
            raise ValueError(f"frozen {list(self.frozen)} would keep random weights; name what to `start` from")
        return self

    @model_validator(mode="after")
    def _front_fits(self) -> ModelRecipe:
        if self.front_weights is not None and not self.front_width:
            raise ValueError("front_weights without a front; say its front_width, which is 16 for YOLOX-nano")
        if self.front_width % 2 or (self.front_width and len(self.depths) != 4):
            raise ValueError(
                f"front_width {self.front_width} with {len(self.depths)} stages: a front has an even width and maps "
                "for 4 stages"
            )
        return self

    @model_validator(mode="after")
    def _stages_agree(self) -> ModelRecipe:
        if len(self.depths) != len(self.num_heads):
            raise ValueError(f"depths {self.depths} and num_heads {self.num_heads} must have one entry per stage")
        for i, heads in enumerate(self.num_heads):
            if (self.embed_dim << i) % heads:
                raise ValueError(f"stage {i} has {self.embed_dim << i} channels, which {heads} heads cannot share")
        return self


class InputRecipe(Part):
    """What the deployed network sees: input size and RGB normalisation."""

    height: int = Field(ge=32)
    width: int = Field(ge=32)
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[Positive, Positive, Positive] = (58.395, 57.12, 57.375)


class CropRecipe(Part):
    """A crop size in pixels, the batch size that goes with it, and how often it is drawn from progress `since` on."""

    height: int = Field(ge=32)
    width: int = Field(ge=32)
    batch: int = Field(ge=1)
    share: float = Field(default=1.0, gt=0)
    since: float = Field(default=0.0, ge=0, lt=1)
    until: float = Field(default=1.0, gt=0, le=1)


class AugmentationRecipe(Part):
    """Ranges of the random views.

    Attributes:
        scale: least and greatest size of a view's pixels against the image's.
        fit: `scale` is against the image letterboxed into the deployed input instead: 1 shows objects as large as they
            will be seen.
        aspect: greatest log ratio of horizontal to vertical scale.
        color: strength of the photometric jitter; 0 turns it off.
        rare_classes: class ids that some crops are centred on; in segmentation also pasted between views.
        mosaic_probability: probability, in detection, of a view put together from four of half its size.
    """

    scale: tuple[float, float] = (0.7, 2.1)
    fit: bool = False
    aspect: float = Field(default=0.1, ge=0)
    rotation_degrees: float = Field(default=3.0, ge=0)
    flip_probability: Share = 0.5
    color: float = Field(default=1.0, ge=0)
    blur_probability: Share = 0.1
    noise_probability: Share = 0.1
    rare_classes: tuple[int, ...] = ()
    rare_crop_probability: Share = 0.0
    paste_probability: Share = 0.0
    mosaic_probability: Share = 0.0
    pad_value: int = Field(default=114, ge=0, le=255)

    @model_validator(mode="after")
    def _ordered(self) -> AugmentationRecipe:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale {self.scale} must be two positive numbers in ascending order")
        return self


class PlanRecipe(Part):
    """Which plans are drawn.

    Attributes:
        ratios: drawn from for every block pair, sorted within a stage.
        dense_share: share of the steps that prune nothing.
        dense_until: progress before which every step prunes nothing, 0 to 1.
        uniform_share: share of the others that prune every block alike, as a ratio given to the deployed model does.
    """

    ratios: tuple[Share, ...] = Field(default=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), min_length=1)
    dense_share: Share = 0.3
    dense_until: Share = 0.0
    uniform_share: Share = 0.0


class LossRecipe(Part):
    """Weights of the terms.

    Attributes:
        weight_power, label_smoothing: those of segmentation's cross-entropy, whose class weights are
            ``frequency ** -weight_power``.
        lovasz: weight of the Lovasz-softmax term.
        box: weight of detection's box term against its class term.
        proposals: regions of an image, in instance segmentation, which those are drawn from that its heads learn from.
        regions: regions drawn, a quarter of which may show an object.
        one_to_one: weight of the branch that is deployed against the auxiliary one.
        self_distillation: weight, at steps with a pruned plan, of the distance to the averaged weights' dense answers;
            unlabelled images count too.
        importance: weight of what has windows score by what their pixels weigh (see `importance`): in segmentation by
            their classes, in detection by the objects there, a small one more than each pixel of a large one.
        passed_over: factor by which a pixel weighs more in `importance` that the earlier stages of a pass did not
            compute.
    """

    weight_power: float = Field(default=0.4, ge=0, le=1)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    lovasz: float = Field(default=0.0, ge=0)
    box: float = Field(default=4.0, ge=0)
    proposals: int = Field(default=1000, ge=1)
    regions: int = Field(default=512, ge=4)
    one_to_one: float = Field(default=1.0, gt=0)
    self_distillation: float = Field(default=0.0, ge=0)
    importance: float = Field(default=0.0, ge=0)
    passed_over: float = Field(default=0.0, ge=0)


class TeacherRecipe(Part):
    """Feature distillation from a convolutional ONNX network.

    Attributes:
        path: the ONNX file; its one input is (1, 3, H, W) float32 BGR 0..255.
        features: names of inner tensors to match, concatenated, for each student stage from `first_stage` on.
        strides: pixels per cell of those tensors.
        weight, final_weight: those of the loss at the start and at the end, linear in between.
        grid: names, for detection, of one tensor per stride 8, 16, 32 with the teacher's answers, (B, 5 + N, h, w) as
            YOLOX concatenates them: box, objectness and class probabilities. Empty: no distillation of answers.
        grid_classes: the teacher's class index of each of the student's classes.
        grid_weight, final_grid_weight: those of that loss, likewise.
    """

    path: Path
    features: tuple[tuple[str, ...], ...] = ()
    strides: tuple[int, ...] = ()
    first_stage: int = Field(default=1, ge=0)
    weight: float = Field(default=1.0, ge=0)
    final_weight: float = Field(default=0.1, ge=0)
    grid: tuple[str, ...] = ()
    grid_classes: tuple[int, ...] = ()
    grid_weight: float = Field(default=1.0, ge=0)
    final_grid_weight: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _same_length(self) -> TeacherRecipe:
        if len(self.grid) not in (0, 3) or bool(self.grid) != bool(self.grid_classes):
            raise ValueError("grid names one tensor per stride 8, 16 and 32 and comes with grid_classes")
        if not self.features and not self.grid:
            raise ValueError("a teacher teaches features, answers (grid), or both; name tensors of either")
        if len(self.features) != len(self.strides):
            raise ValueError(f"{len(self.features)} groups of features but {len(self.strides)} strides")
        return self


class ClassBiasRecipe(Part):
    """A bias for each class of segmentation, tuned once the training is over (`class_bias`) and put into the classifier
    of ``model.pth``.

    Attributes:
        images: images of each labelled data set that are looked at, spread over it.
        ratios: shares of windows pruned that it is tuned for.
    """

    images: Count = 60
    ratios: tuple[Share, ...] = Field(default=(0.0, 0.5), min_length=1)


class OptimizerRecipe(Part):
    """AdamW; norms, biases and bias tables do not decay.

    Attributes:
        lr_scale: factor on the learning rate of a part's parameters, by the dotted name of its module; of two that
            hold a parameter the longer name counts. Pretrained parts want less than fresh ones.
    """

    lr: float = Field(default=1e-3, gt=0)
    lr_scale: dict[str, Positive] = {}
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    clip_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)


class ScheduleRecipe(Part):
    """Linear warm-up, then a cosine to `final_lr` of the peak.

    Attributes:
        steps: steps of the whole training.
        budget_minutes: when given, progress is the larger of the shares of steps done and of minutes spent, so that the
            schedule ends in time on a machine of unknown speed. Such a run is not reproducible to the bit.
    """

    steps: int = Field(ge=1)
    warmup_steps: int = Field(default=300, ge=0)
    final_lr: float = Field(default=0.01, ge=0, le=1)
    budget_minutes: float | None = Field(default=None, gt=0)


class MonitorRecipe(Part):
    """What is watched while training, at which ratios, and how often.

    Attributes:
        agreement: watch, too, how far each ratio agrees with a dense pass (see `monitor`).
    """

    data: Annotated[SemanticFolderData | CocoData, Field(discriminator="kind")] | None = None
    ratios: tuple[Share, ...] = Field(default=(0.0, 0.5), min_length=1)
    every_steps: int = Field(default=1000, ge=1)
    agreement: bool = False
