"""Parts of a network that keep the weights they start with."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sparsevit_runtime.errors import SparseViTError


class FreezingError(SparseViTError, ValueError):
    """What is to be kept as it is cannot be."""


def freeze(model: nn.Module, names: Sequence[str], fresh: Sequence[str] = ()) -> list[nn.Module]:
    """Takes the parameters of parts of a network out of training.

    Args:
        model: the network.
        names: names of modules, dotted: ``backbone``, ``head.pyramid``.
        fresh: fresh of its children, those that have random weights, which are not worth keeping.

    Returns:
        The modules. Put them into eval mode after every `model.train()`: their batch norms then keep their statistics.

    Raises:
        FreezingError: there is no such module, it has random weights, or nothing is left to train.
    """
    modules = dict(model.named_modules())
    unknown = [name for name in names if name not in modules or not name]
    if unknown:
        known = [name for name in modules if name and name.count(".") < 2 and list(modules[name].parameters())]
        raise FreezingError(f"model.frozen names {unknown}; the network has {', '.join(known)} and what is in them")
    random = [name for name in names if name.partition(".")[0] in fresh]
    if random:
        raise FreezingError(
            f"model.frozen would keep random weights of {random}, as model.start names a model with another head; "
            "leave them out"
        )
    frozen = [modules[name] for name in names]
    for module in frozen:
        module.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise FreezingError(f"model.frozen leaves nothing to train: {list(names)}")
    return frozen
