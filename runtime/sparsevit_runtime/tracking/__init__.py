"""Objects that keep their numbers from frame to frame, and are counted."""

from .following import Follower, Tracking, tracking_of
from .places import CountLine, CountZone

__all__ = ["CountLine", "CountZone", "Follower", "Tracking", "tracking_of"]
