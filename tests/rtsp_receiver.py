"""An RTSP server that takes what one publisher pushes: FFmpeg, listening. Run by itself: `rtsp_receiver.py URL`.

Prints a line for every picture: its time in milliseconds, width, height and mean.
"""

import sys

import av

container = av.open(sys.argv[1], options={"rtsp_flags": "listen", "listen_timeout": "30"})
for frame in container.decode(video=0):
    at_ms = -1 if frame.time is None else round(frame.time * 1e3)
    mean = round(frame.to_ndarray(format="gray").mean())
    sys.stdout.write(f"{at_ms} {frame.width} {frame.height} {mean}\n")
    sys.stdout.flush()
