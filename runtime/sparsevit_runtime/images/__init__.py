"""Pictures: what a frame is, how it lies in a model's input, and how files decode.

All of it rests on OpenCV. One that is missing, or what an uninstall left of it, is told here, before anything calls it.
"""

from ..dependencies import require

require("cv2")
