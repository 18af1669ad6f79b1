"""Random crops and photometric jitter for dense prediction, one warp per sample."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .datasets.base import IGNORE, Sample
from .recipe import AugmentationRecipe


def crop_sample(
    sample: Sample, crop_hw: tuple[int, int], recipe: AugmentationRecipe, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One random view of a sample.

    Scale, aspect, rotation, flip and crop are one affine warp, so pixels are resampled once. Outside the image lie the
    grey of the runtime's letterbox and ignored labels.

    Args:
        sample: image and, possibly, label.
        crop_hw: size of the view, pixels.
        recipe: ranges.
        rng: the only source of randomness.

    Returns:
        image (h, w, 3) uint8 BGR, label (h, w) uint8; all `IGNORE` for an unlabelled sample.
    """
    height, width = sample.image.shape[:2]
    matrix = _random_affine((height, width), crop_hw, _focus(sample, recipe, rng), recipe, rng)
    size_wh = crop_hw[1], crop_hw[0]
    reduced = math.sqrt(abs(np.linalg.det(matrix[:, :2]))) < 0.7
    source = sample.image
    if reduced:  # bilinear sampling of a strongly reduced image would alias
        source = cv2.GaussianBlur(source, (3, 3), 0)
    image = cv2.warpAffine(
        source,
        matrix,
        size_wh,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(recipe.pad_value,) * 3,
    )
    if sample.label is None:
        return image, np.full(crop_hw, IGNORE, np.uint8)
    label = cv2.warpAffine(
        sample.label, matrix, size_wh, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=IGNORE
    )
    return image, label


def _focus(sample: Sample, recipe: AugmentationRecipe, rng: np.random.Generator) -> tuple[float, float] | None:
    """A pixel (x, y) of a rare class to crop around, or None for a crop anywhere."""
    if sample.label is None or not recipe.rare_classes or rng.random() >= recipe.rare_crop_probability:
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
) -> np.ndarray:
    """(2, 3) float64 from image to crop pixels."""
    low, high = np.log(recipe.scale)
    scale = math.exp(rng.uniform(low, high))
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
