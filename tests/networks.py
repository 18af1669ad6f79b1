"""Small networks for tests."""

from __future__ import annotations

import torch


def randomize(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights that make every part of a network matter, including norms' offsets and batch statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                # From a fixed value: PyTorch's own biases are others in every process.
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.eval()
