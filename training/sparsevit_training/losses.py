"""Losses of semantic segmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .datasets.base import FIRST_GROUP, IGNORE


def class_weights(pixel_counts: Tensor, power: float) -> Tensor:
    """Weights ``frequency ** -power``, scaled to a mean of 1 over pixels; classes never seen weigh as the rarest.

    Args:
        pixel_counts: (K,) labelled pixels per class.

    Returns:
        (K,) float32.
    """
    counts = pixel_counts.double()
    if not (counts > 0).any():
        return torch.ones(len(counts))
    frequency = counts / counts.sum()
    frequency = torch.where(counts > 0, frequency, frequency[counts > 0].min())
    weights = frequency**-power
    return (weights / (weights * frequency).sum()).float()


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Lovasz extension of the mean Jaccard loss over the classes present (Berman et al., CVPR 2018).

    Args:
        probabilities: (N, K) float32, without ignored pixels.
        labels: (N,) int64.

    Returns:
        Scalar; 0 when N is 0.
    """
    if not len(labels):
        return probabilities.sum() * 0.0
    present = torch.bincount(labels, minlength=probabilities.shape[1]) > 0  # (K,)
    # Pixels lie side by side: along the first axis a GPU's cumulative sum took half of a training step.
    chosen = probabilities.t()[present].contiguous()  # (P, N)
    truth = (labels == present.nonzero()).to(chosen.dtype)  # (P, N)
    errors, order = (truth - chosen).abs().sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    total = truth.sum(1, keepdim=True)
    intersection = total - truth.cumsum(1)
    union = total + (1 - truth).cumsum(1)
    jaccard = 1 - intersection / union
    gradient = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], 1)  # (P, N)
    return (errors * gradient).sum(1).mean()


def self_distillation(logits: Tensor, dense: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of a pruned pass against the class probabilities of the averaged weights' dense pass.

    Sandwich-style inplace distillation (Yu et al., "BigNAS", ECCV 2020), with the averaged model as the teacher.

    Args:
        logits, dense: (B, K, h, w).
        weights: (K,) of a pixel by its class in `dense`, as in the loss of labelled pixels.

    Returns:
        Scalar float32, mean over pixels, less the entropy of `dense`: 0 where both agree.
    """
    target = dense.float().log_softmax(1)
    divergence = F.kl_div(logits.float().log_softmax(1), target, reduction="none", log_target=True).sum(1)  # (B, h, w)
    return (weights[target.argmax(1)] * divergence).mean()


class SegmentationLoss(torch.nn.Module):
    """Weighted cross-entropy at half the image's resolution; optionally, Lovasz-softmax on a part of the pixels.

    Args:
        weights: (K,) class weights.
        label_smoothing: label smoothing of the cross-entropy.
        lovasz: weight of the Lovasz term.
        groups: class ids of each group that labels may name in place of a class, from `FIRST_GROUP` on.
    """

    weights: Tensor
    group_weights: Tensor

    def __init__(
        self, weights: Tensor, label_smoothing: float, lovasz: float, groups: Sequence[Sequence[int]] = ()
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.groups = [list(group) for group in groups]
        means = [weights[group].mean() for group in self.groups]
        self.register_buffer("group_weights", torch.stack(means) if means else weights.new_zeros(0))
        self.label_smoothing = label_smoothing
        self.lovasz = lovasz

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits: (B, K, H/4, W/4).
            labels: (B, H, W) uint8, `FIRST_GROUP` and on where a group is known, `IGNORE` where void.

        Returns:
            Scalar float32; 0 (with gradient) when every pixel is ignored.
        """
        half = labels[:, ::2, ::2].long()
        if not (half != IGNORE).any():
            return logits.float().sum() * 0.0
        fine = F.interpolate(logits.float(), half.shape[1:], mode="bilinear", align_corners=False)  # (B, K, H/2, W/2)
        loss = self._cross_entropy(fine, half)
        if self.lovasz:
            loss = loss + self.lovasz * self._lovasz(fine, half)
        return loss

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted mean over pixels; of a pixel of a group the logarithm is of its classes' summed probability."""
        smoothing = self.label_smoothing
        if not self.groups:
            return F.cross_entropy(logits, labels, self.weights, ignore_index=IGNORE, label_smoothing=smoothing)
        grouped = (labels >= FIRST_GROUP) & (labels != IGNORE)
        classes = labels.masked_fill(grouped, IGNORE)
        of_classes = F.cross_entropy(
            logits, classes, self.weights, ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum"
        )
        summed = torch.stack([logits[:, group].logsumexp(1) for group in self.groups], 1) - logits.logsumexp(
            1, keepdim=True
        )
        number = (labels - FIRST_GROUP).masked_fill(~grouped, IGNORE)
        of_groups = F.nll_loss(summed, number, self.group_weights, ignore_index=IGNORE, reduction="sum")
        weights = self.weights[classes[classes != IGNORE]].sum() + self.group_weights[number[grouped]].sum()
        return (of_classes + of_groups) / weights

    def _lovasz(self, logits: Tensor, labels: Tensor) -> Tensor:
        # Sorting dominates the cost; every 8th pixel estimates the same areas.
        labels = labels[:, 1::4, ::2].flatten()
        chosen = labels < FIRST_GROUP
        flat = logits[:, :, 1::4, ::2].permute(0, 2, 3, 1).flatten(0, 2)[chosen]  # (N, K)
        return lovasz_softmax(flat.softmax(1), labels[chosen])
