"""Random crops and photometric jitter for dense prediction and detection, one warp per sample."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from .datasets.base import IGNORE, Boxes, Sample
from .recipe_parts import AugmentationRecipe

#: A box of which a crop shows less than this share, or a shorter side in pixels, is not taught.
_LEAST_VISIBLE = 0.2
_LEAST_SIDE = 2.0


def crop_sample(
    sample: Sample,
    crop_hw: tuple[int, int],
    recipe: AugmentationRecipe,
    rng: np.random.Generator,
    unit: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """One random view of a sample.

    Scale, aspect, rotation, flip and crop are one affine warp, so pixels are resampled once. Outside the image lie the
    grey of the runtime's letterbox and ignored labels.

    Args:
        sample: image and, possibly, label.
        crop_hw: size of the view, pixels.
        recipe: ranges.
        rng: the only source of randomness.
        unit: meaning of a scale of 1, in view pixels per image pixel; see `fit_scale`.

    Returns:
        image (h, w, 3) uint8 BGR, label (h, w) uint8; all `IGNORE` for an unlabelled sample.
    """
    matrix = _random_affine(sample.image.shape[:2], crop_hw, _focus(sample, recipe, rng), recipe, rng, unit)
    image = _warp(sample.image, matrix, crop_hw, recipe.pad_value)
    if sample.label is None:
        return image, np.full(crop_hw, IGNORE, np.uint8)
    size_wh = crop_hw[1], crop_hw[0]
    label = cv2.warpAffine(
        sample.label, matrix, size_wh, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=IGNORE
    )
    return image, label


def crop_boxes(
    sample: Sample,
    crop_hw: tuple[int, int],
    recipe: AugmentationRecipe,
    rng: np.random.Generator,
    unit: float = 1.0,
) -> tuple[np.ndarray, Boxes | None]:
    """As `crop_sample`, for samples with boxes.

    Boxes are cut at the view's border; those that hardly show any more are left out. A rotated box becomes the box
    around it. Masks are (h, w) bool in the view's pixels.

    Returns:
        image (h, w, 3) uint8 BGR, and the boxes in its pixels; None for a sample without any annotation.
    """
    matrix = _random_affine(sample.image.shape[:2], crop_hw, _focus(sample, recipe, rng), recipe, rng, unit)
    image = _warp(sample.image, matrix, crop_hw, recipe.pad_value)
    if sample.boxes is None:
        return image, None
    x0, y0, x1, y1 = sample.boxes.xyxy.astype(np.float64).T
    corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], -1).reshape(-1, 4, 2) - 0.5  # OpenCV counts pixel centres
    moved = corners @ matrix[:, :2].T + matrix[:, 2] + 0.5
    low, high = moved.min(1), moved.max(1)  # (N, 2)
    limit = np.array(crop_hw[::-1], np.float64)
    cut_low, cut_high = low.clip(0, limit), high.clip(0, limit)
    area = np.maximum((high - low).prod(1), 1e-9)
    sides = cut_high - cut_low
    kept = (sides.prod(1) / area >= _LEAST_VISIBLE) & (sides.min(1, initial=np.inf) >= _LEAST_SIDE)
    xyxy = np.hstack([cut_low, cut_high])[kept].astype(np.float32)
    masks = sample.boxes.masks
    if masks is not None:
        masks = tuple(_warp_mask(masks[i], matrix, crop_hw) for i in np.flatnonzero(kept))
    return image, Boxes(xyxy, sample.boxes.classes[kept], masks)


def mosaic(views: list[tuple[np.ndarray, Boxes | None]]) -> tuple[np.ndarray, Boxes | None]:
    """Puts four views of one size into a square of two by two (Bochkovskiy et al., "YOLOv4").

    Returns:
        image (2h, 2w, 3) and its boxes; None when one of the views has no annotation.
    """
    height, width = views[0][0].shape[:2]
    rows = [np.hstack([views[i][0], views[i + 1][0]]) for i in (0, 2)]
    known = [boxes for _, boxes in views if boxes is not None]
    if len(known) < len(views):
        return np.vstack(rows), None
    offsets = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float32)
    xyxy = [boxes.xyxy + np.tile(offset, 2) for boxes, offset in zip(known, offsets, strict=True)]
    return np.vstack(rows), Boxes(np.concatenate(xyxy), np.concatenate([boxes.classes for boxes in known]))


def fit_scale(image_hw: tuple[int, int], input_hw: tuple[int, int]) -> float:
    """Input pixels per image pixel when the image is letterboxed into the input."""
    return min(input_hw[0] / image_hw[0], input_hw[1] / image_hw[1])


def _warp(image: np.ndarray, matrix: np.ndarray, crop_hw: tuple[int, int], pad_value: int) -> np.ndarray:
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if scale < 0.7:  # bilinear sampling of a strongly reduced image would alias
        image = cv2.GaussianBlur(image, (3, 3), 0) if scale > 0.4 else cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    return cv2.warpAffine(
        image,
        matrix,
        (crop_hw[1], crop_hw[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(pad_value,) * 3,
    )


def _warp_mask(mask: Any, matrix: np.ndarray, crop_hw: tuple[int, int]) -> np.ndarray:
    """(h, w) bool of a mask in the image's pixels, packed or not."""
    if isinstance(mask, dict):
        from pycocotools import mask as coco

        packed: Any = mask  # its stubs have a type of their own
        mask = coco.decode(packed)
    moved = cv2.warpAffine(
        np.ascontiguousarray(mask, np.uint8), matrix, (crop_hw[1], crop_hw[0]), flags=cv2.INTER_NEAREST
    )
    return moved > 0


def _focus(sample: Sample, recipe: AugmentationRecipe, rng: np.random.Generator) -> tuple[float, float] | None:
    """A pixel (x, y) of a rare class to crop around, or None for a crop anywhere."""
    if not recipe.rare_classes or rng.random() >= recipe.rare_crop_probability:
        return None
    if sample.boxes is not None:
        rare = sample.boxes.xyxy[np.isin(sample.boxes.classes, recipe.rare_classes)]
        if not len(rare):
            return None
        x0, y0, x1, y1 = rare[rng.integers(len(rare))]
        return float(x0 + x1) / 2, float(y0 + y1) / 2
    if sample.label is None:
        return None
    present = [c for c in recipe.rare_classes if (sample.label == c).any()]
    if not present:
        return None
    rows, columns = np.nonzero(sample.label == present[rng.integers(len(present))])
    pick = rng.integers(len(rows))
    return float(columns[pick]), float(rows[pick])


def _random_affine(
    image_hw: tuple[int, int],
    crop_hw: tuple[int, int],
    focus: tuple[float, float] | None,
    recipe: AugmentationRecipe,
    rng: np.random.Generator,
    unit: float,
) -> np.ndarray:
    """(2, 3) float64 from image to crop pixels."""
    low, high = np.log(recipe.scale)
    scale = unit * math.exp(rng.uniform(low, high))
    aspect = math.exp(rng.uniform(-recipe.aspect, recipe.aspect) / 2)
    angle = math.radians(rng.uniform(-recipe.rotation_degrees, recipe.rotation_degrees))
    flip = -1.0 if rng.random() < recipe.flip_probability else 1.0
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    linear = np.array([[cos * aspect * flip, -sin], [sin * flip, cos / aspect]])
    # Part of the image (in its own pixels) that the crop can see, so that the centre stays where little border shows.
    seen_x, seen_y = crop_hw[1] / (scale * aspect), crop_hw[0] * aspect / scale
    center = []
    for length, seen, wanted in zip(image_hw[::-1], (seen_x, seen_y), focus or (None, None)):
        room = max(length - seen, 0) / 2
        if wanted is None:
            center.append(length / 2 + rng.uniform(-room, room))
        else:
            wanted = wanted + rng.uniform(-0.35, 0.35) * seen
            center.append(min(max(wanted, length / 2 - room), length / 2 + room))
    # Pixel centres lie at half-integers, OpenCV counts from the centre of the first one.
    shift = np.array([crop_hw[1] / 2, crop_hw[0] / 2]) - linear @ np.array(center)
    shift += linear @ np.array([0.5, 0.5]) - 0.5
    return np.hstack([linear, shift[:, None]])


def jitter_colors(image: np.ndarray, recipe: AugmentationRecipe, rng: np.random.Generator) -> np.ndarray:
    """Gamma, contrast, brightness, colour cast, saturation, blur and noise; (h, w, 3) uint8 to the same."""
    strength = recipe.color
    if strength <= 0:
        return image
    ramp = np.linspace(0, 1, 256)
    tables = ramp[:, None] ** np.exp(rng.uniform(-0.5, 0.5) * strength)
    gains = np.exp(rng.uniform(-0.4, 0.4) * strength + rng.uniform(-0.12, 0.12, 3) * strength)
    tables = (tables - 0.5) * gains + 0.5 + rng.uniform(-0.15, 0.15) * strength
    tables = np.clip(tables * 255 + 0.5, 0, 255).astype(np.uint8)  # (256, 3)
    image = cv2.LUT(image, tables[:, None, :])
    saturation = 1 + rng.uniform(-0.6, 0.5) * strength
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    if rng.random() < recipe.blur_probability:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < recipe.noise_probability:
        noise = rng.normal(0, rng.uniform(2, 10), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def paste_classes(
    image: np.ndarray,
    label: np.ndarray,
    donor_image: np.ndarray,
    donor_label: np.ndarray,
    classes: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Copies the pixels of some classes from a donor view over one of the same size (cf. Olsson et al., "ClassMix")."""
    mask = np.isin(donor_label, classes)
    image, label = image.copy(), label.copy()
    image[mask] = donor_image[mask]
    label[mask] = donor_label[mask]
    return image, label
