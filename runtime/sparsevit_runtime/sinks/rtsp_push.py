"""The other end of `rtsp.py`: a program of its own that pushes a stream to an RTSP server.

FFmpeg connects, waits and says goodbye within calls in which PyAV lets no other thread of Python run, however long a
server takes. Here nothing else waits for it.

Takes on stdin a line of JSON, the server's address and a limit in seconds, and behind it the stream, H.264 in NUT.
Writes a byte to stdout when the first picture was sent; what it fails with goes to stderr, without the address. Imports
nothing of this package, so that it starts in a moment.
"""

import json
import os
import sys


def push(url: str, timeout_s: float) -> None:
    import av

    options = {"probesize": "32", "analyzeduration": "1", "fflags": "nobuffer"}
    with (
        av.open(os.fdopen(0, "rb", buffering=0, closefd=False), format="nut", options=options) as pictures,
        av.open(
            url,
            "w",
            format="rtsp",
            options={"rtsp_transport": "tcp", "timeout": str(round(timeout_s * 1e6))},
        ) as server,
    ):
        stream = server.add_stream_from_template(pictures.streams.video[0])
        told = False
        for packet in pictures.demux(video=0):
            if packet.dts is None:  # the end
                break
            packet.stream = stream
            server.mux(packet)
            if not told:
                told = bool(os.write(1, b"."))


def main() -> int:
    sys.path[:] = json.loads(sys.argv[1])
    with os.fdopen(0, "rb", buffering=0, closefd=False) as told:
        url, timeout_s = json.loads(told.readline())
    try:
        push(url, timeout_s)
    except Exception as error:  # PyAV's have several bases, and texts with the address and its password
        sys.stderr.write(getattr(error, "strerror", None) or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
