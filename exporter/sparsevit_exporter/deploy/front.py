"""The deployed convolutional front: as trained, over bytes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsevit_runtime.errors import ExportError

from ..folding import fold_colours
from ..front import STEM_PADDING, Front, Projection, black_pixel, bordered
from ..weights import fold_norms


class DeployedFront(nn.Module):
    """A front for one input size.

    Args:
        front: trained; left untouched.
        mean, std: RGB normalisation, in bytes.
        camera: the input is (B, H, W, 3) uint8 BGR; else it is (B, 3, H, W) float32 RGB, already normalised.
        dtype: type of the maps.

    Raises:
        ExportError: the front was made for another normalisation.
    """

    def __init__(
        self, front: Front, mean: Sequence[float], std: Sequence[float], camera: bool, dtype: torch.dtype
    ) -> None:
        super().__init__()
        if not torch.allclose(front.features.black.cpu(), black_pixel(mean, std), atol=1e-3):
            raise ExportError(
                f"the front was made for other pixels than mean {[*mean]} and std {[*std]} give; export with the "
                "normalisation it was trained with"
            )
        self.camera, self.dtype = camera, dtype
        self.features = copy.deepcopy(front.features)
        projections = nn.ModuleList(fold_norms(copy.deepcopy(p)) for p in front.projections)
        self.projections = cast("Sequence[Projection]", projections)
        if camera:
            trained, activation = self.features.stem.children()
            self.features.stem = nn.Sequential()
            # Black is 0 in bytes, so that a convolution's own border will do.
            assert isinstance(trained, nn.Conv2d) and trained.bias is not None
            stem = nn.Conv2d(3, front.width, 6, 2, STEM_PADDING)
            weight, bias = fold_colours(trained.weight.detach(), trained.bias.detach(), mean, std)
            stem.load_state_dict({"weight": weight, "bias": bias})
            self.byte_stem = nn.Sequential(stem, activation)
        self.to(dtype)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, H, W, 3) uint8 BGR, or (B, 3, H, W) float32 normalised -> maps (B, C, H, W) at strides 4, 8, 16, 32."""
        if not self.camera:
            return self.features.maps(self.features.stem(bordered(image, self.features.black.float()).to(self.dtype)))
        pixels = image.to(self.dtype).permute(0, 3, 1, 2)  # TensorRT turns no bytes
        if any(size % 2 for size in pixels.shape[2:]):
            pixels = F.pad(pixels, (0, pixels.shape[3] % 2, 0, pixels.shape[2] % 2))
        return self.features.maps(self.byte_stem(pixels))
