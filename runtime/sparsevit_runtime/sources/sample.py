"""`sample://`: a real clip that is already on the machine."""

from __future__ import annotations

import glob
import logging

import cv2

from ..errors import SourceError
from .base import Source
from .synthetic import SyntheticSource
from .video import VideoSource

_log = logging.getLogger(__name__)

#: Where JetPack, DeepStream and the distributions put clips; streets first.
SAMPLE_CLIPS = (
    "/opt/nvidia/vpi*/samples/assets/dashcam.mp4",
    "/opt/nvidia/vpi*/samples/assets/pedestrians.mp4",
    "/opt/nvidia/deepstream/deepstream*/samples/streams/sample_720p.mp4",
    "/usr/share/opencv4/samples/data/vtest.avi",
    "/usr/share/opencv/samples/data/vtest.avi",
    "/usr/local/share/opencv4/samples/data/vtest.avi",
    "/usr/share/doc/opencv-doc/examples/data/vtest.avi",
    "/usr/share/doc/opencv-doc/**/vtest.avi",
    "/usr/share/doc/libopencv*/**/vtest.avi",
)


def open_sample(uri: str, places: tuple[str, ...] = SAMPLE_CLIPS) -> Source:
    """Opens the first clip found, else the synthetic street; `name` says which.

    Args:
        uri: ``sample://``.
        places: globs, best first.

    Raises:
        SourceError: the URI says more than ``sample://``.
    """
    if uri.rstrip("/") != "sample:":
        raise SourceError(f"{uri!r}: sample:// takes nothing after it; to choose a clip, give its path")
    configured = cv2.samples.findFile("vtest.avi", False, True)
    for place in (*places, *([glob.escape(configured)] if configured else [])):
        for path in sorted(glob.glob(place, recursive=True)):
            try:
                return VideoSource(path, f"sample clip {path}")
            except SourceError as error:
                _log.info("passed over a sample clip: %s", error)
    source = SyntheticSource()
    source.name = f"{source.name} (no sample clip on this machine)"
    return source
