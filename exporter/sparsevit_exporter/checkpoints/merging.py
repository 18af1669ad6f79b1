"""Channel order of patch merging."""

from __future__ import annotations

from torch import Tensor

from .states import BackboneState, KeyMismatch


def reorder_merges(state: BackboneState) -> None:
    """Puts all weights over Microsoft's merged channels into the reference's order, in place.

    Raises:
        KeyMismatch: a merge does not have four times some number of channels.
    """
    for name, tensor in state.weights.items():
        if ".downsample." in name:
            if tensor.ndim == 0 or tensor.shape[-1] % 4:
                raise KeyMismatch(f"{state.origins[name]} is {tuple(tensor.shape)}; merged channels come in fours")
            state.weights[name] = from_grouped(tensor)


def from_grouped(tensor: Tensor) -> Tensor:
    """(..., 4C) in Microsoft's order to (..., 4C) in the reference's.

    Microsoft concatenates four strided maps: channel g*C + c, g = row + 2*column of the 2x2 patch. The reference
    unfolds: channel c*4 + 2*row + column.
    """
    groups = tensor.unflatten(-1, (4, -1))  # (..., g, C)
    return groups[..., [0, 2, 1, 3], :].transpose(-1, -2).flatten(-2)
