"""The network as it is exported: the same function as `networks`, with everything constant folded in.

Folded at construction: pixel normalisation into the patch embedding, the attention scale into the query weights, the
channel order of the merges into their weights, batch norms into the head's convolutions, and the relative-position bias
with the shift mask into one constant per kind of window that occurs (at most four). `checkpoints.exported` undoes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.windows.geometry import PATCH_SIZE, StageGeometry, stage_geometries
from sparsevit_runtime.windows.plan import Plan, kept_windows

from . import ops, windows
from .backbone import Block, PatchEmbed, PatchMerging, SparseViT, Stage
from .heads.detection import decode_detections
from .heads.segmentation import decode_labels
from .networks import DetectionModel, SegmentationModel


class DeployedPatchEmbed(nn.Module):
    """Camera bytes to tokens, as one matrix product over 4x4x3 bytes; always in float32 (it is small)."""

    def __init__(self, embed: PatchEmbed, mean: Sequence[float], std: Sequence[float], camera: bool) -> None:
        super().__init__()
        self.camera = camera
        weight = embed.projection.weight.detach().double()  # (C, 3, 4, 4), RGB
        bias = embed.projection.bias.detach().double()
        if camera:
            weight = weight / torch.tensor(std, dtype=torch.float64).view(1, 3, 1, 1)
            weight = weight.flip(1)  # BGR
        self.register_buffer("mean", torch.tensor(list(mean)[::-1], dtype=torch.float32))  # BGR
        # The reference pads the normalised image with zeros, the mean in bytes: where the size needs padding the mean
        # is subtracted first, otherwise it goes into the bias.
        self.register_buffer("weight", weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1).float())  # (C, 48)
        self.register_buffer("bias_centred", bias.float())
        folded = bias - (weight * torch.tensor(list(mean)[::-1], dtype=torch.float64).view(1, 3, 1, 1)).sum((1, 2, 3))
        self.register_buffer("bias_folded", folded.float())
        self.norm = embed.norm

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 BGR, or (B, 3, H, W) float32 normalised -> (B, H/4, W/4, C) float32."""
        bias = self.bias_centred
        if self.camera:
            pixels = image.float()  # (B, H, W, 3)
        else:
            pixels = image.permute(0, 2, 3, 1)
        batch, height, width, _ = pixels.shape
        rows, columns = -(-height // PATCH_SIZE), -(-width // PATCH_SIZE)
        padded = (rows * PATCH_SIZE, columns * PATCH_SIZE) != (height, width)
        if self.camera and padded:
            pixels = pixels - self.mean
        elif self.camera:
            bias = self.bias_folded
        if padded:
            pixels = F.pad(pixels, (0, 0, 0, columns * PATCH_SIZE - width, 0, rows * PATCH_SIZE - height))
        patches = pixels.reshape(batch, rows, PATCH_SIZE, columns, PATCH_SIZE, 3).permute(0, 1, 3, 2, 4, 5)
        patches = patches.reshape(batch, rows, columns, PATCH_SIZE * PATCH_SIZE * 3)  # (B, H/4, W/4, 48)
        return self.norm(F.linear(patches, self.weight, bias))


class DeployedMerging(nn.Module):
    """2x2 tokens concatenated as they lie in memory; weights permuted to match."""

    def __init__(self, merging: PatchMerging) -> None:
        super().__init__()
        channels = merging.norm.weight.numel() // 4
        # position g * C + c of the concatenation holds what the reference has at c * 4 + g, g = 2 * kh + kw
        order = torch.arange(4 * channels).view(channels, 4).t().flatten()
        self.eps = merging.norm.eps
        self.register_buffer("norm_weight", merging.norm.weight.detach()[order].clone())
        self.register_buffer("norm_bias", merging.norm.bias.detach()[order].clone())
        self.register_buffer("reduction", merging.reduction.weight.detach()[:, order].clone())

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C)."""
        batch, height, width, channels = x.shape
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        rows, columns = (height + 1) // 2, (width + 1) // 2
        x = x.reshape(batch, rows, 2, columns, 2, channels).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, rows, columns, 4 * channels)
        x = F.layer_norm(x, (4 * channels,), self.norm_weight, self.norm_bias, self.eps)
        return F.linear(x, self.reduction)


class DeployedBlock(nn.Module):
    """A block over listed windows (custom nodes), or over all of them in plain operators."""

    def __init__(self, block: Block, geometry: StageGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.shift = block.shift
        attention = block.attn.w_msa
        self.heads, self.head_dim = attention.num_heads, attention.head_dim
        self.norm1, self.norm2 = block.norm1, block.norm2
        weights, biases = attention.qkv.weight.detach().chunk(3), attention.qkv.bias.detach().chunk(3)
        for name, weight, bias in zip("qkv", weights, biases, strict=True):
            scale = self.head_dim**-0.5 if name == "q" else 1.0
            self.register_buffer(f"{name}_weight", weight * scale)
            self.register_buffer(f"{name}_bias", bias * scale)
        self.proj = attention.proj
        self.expand, self.contract = block.ffn.layers[0][0], block.ffn.layers[1]
        kinds = windows.window_kinds(geometry.height, geometry.width, geometry.window_size, self.shift)
        present, local = torch.unique(kinds, return_inverse=True)
        bias = attention.position_bias().detach()  # (h, T, T)
        if self.shift:
            masks = windows.shift_masks(geometry.window_size, self.shift)[present]  # (kinds, T, T)
            bias = bias[None] + masks[:, None]
        else:
            bias = bias[None]
        self.register_buffer("bias", bias.contiguous())  # (kinds, h, T, T)
        self.register_buffer("kind", local)  # (nW,)

    def forward(self, x: Tensor, index: Tensor | None) -> Tensor:
        """(B, H, W, C), (B, k) or None for all -> (B, H, W, C)."""
        size = self.geometry.window_size
        if index is None:
            tokens = self._compute(windows.window_partition(x, size, self.shift), None)
            return windows.window_reverse(tokens, self.geometry.height, self.geometry.width, size, self.shift)
        tokens = ops.window_gather(x, index, size, self.shift)  # (B, k, T, C)
        tokens = self._compute(tokens, index)
        return ops.window_scatter(x, tokens, index, size, self.shift)

    def _compute(self, tokens: Tensor, index: Tensor | None) -> Tensor:
        shape = tokens.shape  # (B, k, T, C)
        x = tokens.flatten(1, 2)  # (B, k*T, C): the rank runtimes fuse residual, bias and norm at
        x = x + self._attention(self.norm1(x), shape, index)
        x = x + self.contract(_gelu(self.expand(self.norm2(x))))
        return x.reshape(shape)

    def _attention(self, x: Tensor, shape: torch.Size, index: Tensor | None) -> Tensor:
        split = (*shape[:3], self.heads, self.head_dim)
        q = F.linear(x, self.q_weight, self.q_bias).reshape(split).permute(0, 1, 3, 2, 4)  # (B, k, h, T, d)
        k = F.linear(x, self.k_weight, self.k_bias).reshape(split).permute(0, 1, 3, 4, 2)  # (B, k, h, d, T)
        v = F.linear(x, self.v_weight, self.v_bias).reshape(split).permute(0, 1, 3, 2, 4)  # (B, k, h, T, d)
        scores = q @ k + self._bias(index)  # (B, k, h, T, T)
        # Softmax in float32: half precision loses the small probabilities beside the -100 of the mask.
        probabilities = scores.float().softmax(-1).to(v.dtype)
        out = (probabilities @ v).transpose(2, 3).reshape(x.shape)  # (B, k*T, C)
        return self.proj(out)

    def _bias(self, index: Tensor | None) -> Tensor:
        if self.bias.shape[0] == 1:
            return self.bias[0]  # (h, T, T)
        if index is None:
            return self.bias[self.kind]  # (nW, h, T, T)
        kinds = self.kind.index_select(0, index.flatten())  # (B*k,)
        return self.bias.index_select(0, kinds).unflatten(0, index.shape)  # (B, k, h, T, T)


def _gelu(x: Tensor) -> Tensor:
    """Exact GELU in the form that ONNX Runtime and TensorRT recognise as one operator."""
    return x * (torch.erf(x / math.sqrt(2.0)) + 1.0) * 0.5


class DeployedStage(nn.Module):
    """Blocks of one stage, with the windows' order computed once per parity."""

    def __init__(self, stage: Stage, geometry: StageGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.blocks = nn.ModuleList(DeployedBlock(b, geometry) for b in stage.blocks)
        self.downsample = None if stage.downsample is None else DeployedMerging(stage.downsample)

    def order(self, x: Tensor, shift: int, count: int) -> Tensor:
        """Ids of the `count` strongest windows by descending score, (B, count) int64."""
        return ops.window_score(x, self.geometry.window_size, shift).topk(count, dim=1).indices

    def forward_keep(self, x: Tensor, counts: Sequence) -> tuple[Tensor, dict[int, Tensor]]:
        """One count per block pair, scored at the stage's input; returns the map and the order per shift."""
        orders = {b.shift: self.order(x, b.shift, self.geometry.windows) for b in self.blocks[:2]}
        for j, block in enumerate(self.blocks):
            x = block(x, orders[block.shift][:, : counts[j // 2]])
        return x, orders

    def forward_fixed(self, x: Tensor, ratios: Sequence[float]) -> tuple[Tensor, dict[int, Tensor]]:
        """Ratios per block, scored where the reference scores."""
        scored: Tensor | None = None
        orders: dict[int, Tensor] = {}
        for block, ratio in zip(self.blocks, ratios, strict=True):
            if scored is None and ratio == 0.0:
                x = block(x, None)
                continue
            scored = x if scored is None else scored
            count = kept_windows(self.geometry.windows, ratio)
            if count == 0:
                continue  # every window passes through
            if block.shift not in orders:
                orders[block.shift] = self.order(scored, block.shift, count)
            x = block(x, orders[block.shift][:, :count])
        return x, orders


class DeployedBackbone(nn.Module):
    """SparseViT for one input size.

    Args:
        net: trained backbone; left untouched.
        height, width: input size in pixels.
        mean, std: RGB normalisation, in bytes.
        camera: input layout, see `DeployedPatchEmbed`.
        plan: freezes the plan; None makes `keep` an input.
        dtype: of everything after the patch embedding.
    """

    def __init__(
        self,
        net: SparseViT,
        height: int,
        width: int,
        mean: Sequence[float],
        std: Sequence[float],
        camera: bool,
        plan: Plan | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.dtype = dtype
        geometries = stage_geometries(height, width, net.depths, net.window_size)
        self.pairs = [g.pairs for g in geometries]
        self.patch_embed = DeployedPatchEmbed(net.patch_embed, mean, std, camera)
        self.stages = nn.ModuleList(DeployedStage(s, g) for s, g in zip(net.stages, geometries, strict=True))
        self.norms = nn.ModuleList(getattr(net, f"norm{i}") for i in range(len(geometries)))
        self.stages.to(dtype)
        self.norms.to(dtype)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Maps of all stages (B, C, H, W), and the window orders by output name."""
        counts = None if keep is None else self._counts(keep)
        x = self.patch_embed(image).to(self.dtype)
        maps, orders = [], {}
        for i, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            if self.plan is not None:
                x, stage_orders = stage.forward_fixed(x, self.plan.ratios[i])
            else:
                start = sum(self.pairs[:i])
                x, stage_orders = stage.forward_keep(x, counts[start : start + self.pairs[i]])
            for shift, order in stage_orders.items():
                orders[f"{'shifted_' if shift else ''}windows{i}"] = order
            maps.append(norm(x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return maps, orders

    def _counts(self, keep: Tensor) -> list:
        counts = []
        for i, pairs in enumerate(self.pairs):
            for _ in range(pairs):
                count = keep[len(counts)].item()
                # Bounds for the tracer; the graph itself also runs with 0.
                torch._check(count >= 0)
                torch._check(count <= self.stages[i].geometry.windows)
                counts.append(count)
        return counts


def fold_norms(module: nn.Module) -> nn.Module:
    """Puts every batch norm, in eval mode, into the convolution before it; changes `module` and returns it."""
    for part in module.modules():
        if isinstance(part, nn.Sequential) and len(part) > 1 and isinstance(part[1], nn.BatchNorm2d):
            part[0] = fuse_conv_bn_eval(part[0], part[1])
            part[1] = nn.Identity()
    return module


class DeployedModel(nn.Module):
    """Backbone, head and decoding; the module that is traced.

    Args:
        network: `SparseViT`, `SegmentationModel` or `DetectionModel`, in eval mode.
        backbone: the deployed backbone of that network.
        height, width: input size.
        detections: boxes returned per image (detection).
        label_stride: pixels per label, 1, 2 or 4 (segmentation).
    """

    def __init__(
        self,
        network: nn.Module,
        backbone: DeployedBackbone,
        height: int,
        width: int,
        detections: int,
        label_stride: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.height, self.width = height, width
        self.detections, self.label_stride = detections, label_stride
        self.task = getattr(network, "task", "backbone")
        if self.task not in ("backbone", SegmentationModel.task, DetectionModel.task):
            raise ExportError(f"cannot export a network of task {self.task!r}; use segmentation, detection or backbone")
        self.head = fold_norms(network.head).to(backbone.dtype) if self.task != "backbone" else None

    def forward(self, image: Tensor, keep: Tensor | None = None) -> dict[str, Tensor]:
        """Outputs by name: answers, window orders, and the tensors the answers were decoded from."""
        maps, orders = self.backbone(image, keep)
        if self.task == "segmentation":
            logits = self.head(maps)
            height, width = -(-self.height // self.label_stride), -(-self.width // self.label_stride)
            labels = decode_labels(logits, PATCH_SIZE // self.label_stride, height, width)
            answers = {"labels": labels, "logits": logits.float()}
        elif self.task == "detection":
            raw = self.head(maps)
            boxes, scores, classes = decode_detections(raw, self.detections, self.height, self.width)
            answers = {"boxes": boxes, "scores": scores, "classes": classes}
            answers |= {"raw_logits": raw.logits, "raw_boxes": raw.boxes}
        else:
            answers = {f"stage{i}": m.float() for i, m in enumerate(maps)}
        return answers | orders
