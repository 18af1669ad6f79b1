"""The network as it is exported: the same function as `networks`, with everything constant folded in.

Folded at construction: pixel normalisation into the patch embedding, the attention scale into the query weights, the
channel order of the merges into their weights, batch norms into the head's convolutions, and the relative-position bias
with the shift mask into one constant per kind of window that occurs (at most four). `checkpoints.exported` undoes it.

The trace names nodes by the modules they were computed in (`naming`), so every part of the network that a profile tells
apart (`graph.parts.PARTS` of the runtime) is a module of that name here.
"""

from .backbone import DeployedBackbone
from .model import DeployedModel

__all__ = ["DeployedBackbone", "DeployedModel"]
