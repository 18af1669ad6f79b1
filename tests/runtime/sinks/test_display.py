from __future__ import annotations

import cv2
import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks import open_sink


def test_without_a_screen_it_says_what_to_do_instead(monkeypatch):
    """Holds with and without windows in OpenCV: the first lack found is named, and so is the way round it."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    headless = "opencv-python-headless" if "NONE" in _gui_line() else "DISPLAY"
    with pytest.raises(SinkError, match=headless) as caught:
        open_sink("display://")
    assert ".mp4" in str(caught.value)


def _gui_line() -> str:
    return next(line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:"))
