"""What is trained: a backbone with a head."""

from __future__ import annotations

from typing import TypeAlias

from sparsevit_exporter.networks import Network

#: A network of a task.
TrainedModel: TypeAlias = Network


def head_names(model: TrainedModel) -> tuple[str, ...]:
    """Names of the modules that stand on the backbone."""
    return tuple(name for name, _ in model.named_children() if name != "backbone")
