"""Small networks for tests."""

from __future__ import annotations

import torch


def randomize(network: torch.nn.Module, seed: int, bias: float = 0.1) -> torch.nn.Module:
    """Weights that make every part of a network matter, including norms' offsets and batch statistics.

    The same in every process: nothing of what PyTorch put there stays.

    Args:
        network: changed in place.
        seed: other weights for each.
        bias: spread of the biases. Small networks with larger ones tell more classes apart.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0, bias, generator=generator)
            else:
                parameter.normal_(1, 0.1, generator=generator)
    return network.eval()
