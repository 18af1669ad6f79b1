"""Mask2Former's head (Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022).

Its parameters have the names of HuggingFace's `Mask2FormerForUniversalSegmentation`, below `pixel_decoder` (there
`model.pixel_level_module.decoder`), `transformer_decoder` (`model.transformer_module`) and `class_predictor`. It is for
inference: what it is written in (`ops`) has no gradient, and leaves no arithmetic on shapes in a trace.
"""

from .head import Mask2FormerHead, MaskPredictions

__all__ = ["Mask2FormerHead", "MaskPredictions"]
