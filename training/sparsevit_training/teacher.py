"""Distillation from a small convolutional detector: its features (cf. Romero et al., "FitNets") and its answers.

There is no pretrained backbone to start from; a detector trained on COCO supervises the feature maps of every image
instead, labelled or not, and tells a detection head what it sees at every location. Only training sees it: nothing of
it is exported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx.utils import Extractor
from torch import Tensor, nn

from sparsevit_runtime.errors import ModelError

from .peers import decode_yolox_level
from .recipe_parts import TeacherRecipe

_GRID_STRIDES = (8, 16, 32)


class TeacherTargets(NamedTuple):
    """What the teacher says of a batch.

    Attributes:
        features: one (B, C, ceil(h/stride), ceil(w/stride)) bf16 tensor per group, standardised; coarse ones with the
            padding's cells.
        scores: (B, L, K) float32 over the student's locations and classes; None without a grid.
        boxes: (B, L, 4) float32 xyxy in pixels; None without a grid.
    """

    features: list[Tensor]
    scores: Tensor | None = None
    boxes: Tensor | None = None


class Teacher:
    """Runs the detector up to the chosen inner tensors, on the CPU.

    Args:
        recipe: the file and its tensors.
        threads: threads of the session; None lets ONNX Runtime decide.

    Raises:
        ModelError: not a readable ONNX file, or no such tensors in it.
    """

    def __init__(self, recipe: TeacherRecipe, threads: int | None = None) -> None:
        names = [name for group in recipe.features for name in group] + list(recipe.grid)
        try:
            model = onnx.load(str(recipe.path))
        except Exception as error:  # protobuf raises its own types
            raise ModelError(f"the teacher {recipe.path} is not a readable ONNX file ({error})") from error
        known = {name for node in model.graph.node for name in node.output}
        missing = [name for name in names if name not in known]
        if missing or len(model.graph.input) != 1:
            raise ModelError(
                f"the teacher {recipe.path} has no tensors {missing} or not exactly one input "
                f"({[i.name for i in model.graph.input]}); list existing tensors under teacher.features"
            )
        self._input = model.graph.input[0].name
        part = Extractor(model).extract_model([self._input], names)
        del part.graph.value_info[:]  # shapes of the whole network at its own input size
        for value in [*part.graph.input, *part.graph.output]:
            for i, dim in enumerate(value.type.tensor_type.shape.dim):
                if i != 1:
                    dim.dim_param = f"{value.name}_{i}"
        self._part, self._threads = part.SerializeToString(), threads
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}  # by process; see `_session`
        self._names = names
        self._groups = [len(group) for group in recipe.features]
        self._grid_classes = list(recipe.grid_classes)
        self._multiple = max((*recipe.strides, *(_GRID_STRIDES if recipe.grid else ())))
        self._statistics: list[tuple[np.ndarray, np.ndarray]] | None = None

    def _session(self) -> onnxruntime.InferenceSession:
        """The session of this process. One opened before a fork has lost its threads; to close it, too, would hang."""
        process = os.getpid()
        if process not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            # Forked processes work side by side: a core for each.
            options.intra_op_num_threads = 1 if self._sessions else self._threads or 0
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # training wants the cores too
            providers = ["CPUExecutionProvider"]
            self._sessions[process] = onnxruntime.InferenceSession(self._part, options, providers=providers)
        return self._sessions[process]

    def _run(self, images: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(B, h, w, 3) uint8 BGR -> one (B, C, h/stride, w/stride) float32 array per group, and per grid level."""
        pad = [(0, -n % self._multiple) for n in images.shape[1:3]]
        images = np.pad(images, [(0, 0), *pad, (0, 0)], constant_values=114)
        outputs = self._session().run(self._names, {self._input: images.transpose(0, 3, 1, 2).astype(np.float32)})
        groups, start = [], 0
        for count in self._groups:
            groups.append(np.concatenate(outputs[start : start + count], axis=1))
            start += count
        return groups, outputs[start:]

    def calibrate(self, images: np.ndarray) -> list[int]:
        """Measures mean and spread of every channel on some images, (B, h, w, 3) uint8 BGR.

        Returns:
            Channels per group.
        """
        features, _ = self._run(images)
        self._statistics = [
            (f.mean((0, 2, 3), keepdims=True), f.std((0, 2, 3), keepdims=True) + 0.05 * f.std()) for f in features
        ]
        return [f.shape[1] for f in features]

    def __call__(self, images: np.ndarray) -> TeacherTargets:
        """Standardised features, and the answers over the student's locations when the recipe names a grid.

        Args:
            images: (B, h, w, 3) uint8 BGR, any size; padded to whole cells of the coarsest features.
        """
        if self._statistics is None:
            raise ModelError("the teacher was used before calibrate(); calibrate it on some training views first")
        groups, levels = self._run(images)
        features = [
            torch.from_numpy((f - mean) / std).to(torch.bfloat16)
            for f, (mean, std) in zip(groups, self._statistics, strict=True)
        ]
        if not levels:
            return TeacherTargets(features)
        scores, boxes = [], []
        for level, stride in zip(levels, _GRID_STRIDES, strict=True):
            height, width = (-(-n // stride) for n in images.shape[1:3])
            said, where = decode_yolox_level(level[:, :, :height, :width], stride)
            scores.append(said[..., self._grid_classes])
            boxes.append(where)
        return TeacherTargets(
            features, torch.from_numpy(np.concatenate(scores, 1)), torch.from_numpy(np.concatenate(boxes, 1))
        )


class FeatureDistillation(nn.Module):
    """Projects student maps onto the teacher's features; 1 minus the cosine similarity per position, averaged.

    Args:
        student_channels: student channels of the stages matched.
        teacher_channels: teacher channels of the groups, as `Teacher.calibrate` returns them.
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Conv2d(s, t, 1) for s, t in zip(student_channels, teacher_channels, strict=True)
        )

    def forward(self, maps: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """Loss of a batch.

        Args:
            maps: the student's (B, C_i, H_i, W_i).
            targets: the teacher's (B, T_i, h_i, w_i) at the same strides, at least as large.

        Returns:
            Scalar float32.
        """
        total = maps[0].new_zeros((), dtype=torch.float32)
        for projection, student, target in zip(self.projections, maps, targets, strict=True):
            height, width = (min(a, b) for a, b in zip(student.shape[2:], target.shape[2:], strict=True))
            predicted = projection(student)[:, :, :height, :width]
            target = target[:, :, :height, :width]
            total = total + (1 - F.cosine_similarity(predicted, target, dim=1).float()).mean()
        return total / len(self.projections)
