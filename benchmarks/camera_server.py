"""A camera on this machine, to be killed and started again: MPEG-TS over tcp or udp, or JPEGs over http, with the time
in every picture.

    python benchmarks/camera_server.py ts 9000
    python benchmarks/camera_server.py udp 9002
    python benchmarks/camera_server.py mjpeg 9001 --cut-one-in 15
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from time_code import SIZE_WH, draw_code, now_ms

FPS = 25


def ticks() -> Iterator[int]:
    """Numbers from 0, one a frame period; like a camera it makes up for none that it missed."""
    due, number = time.monotonic(), 0
    while True:
        yield number
        number += 1
        now = time.monotonic()
        due = max(due + 1 / FPS, now + 0.5 / FPS)
        time.sleep(due - now)


def serve_ts(place: str) -> None:
    """One client after the other gets H.264 in MPEG-TS; over udp whoever listens at the port."""
    import av

    while True:
        try:
            with av.open(place, "w", format="mpegts") as container:
                stream = container.add_stream("libx264", rate=FPS)
                stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
                stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(FPS)}
                for _ in ticks():
                    frame = av.VideoFrame.from_ndarray(draw_code(now_ms()), "bgr24")
                    container.mux(stream.encode(frame))
        except (OSError, av.error.FFmpegError):
            continue


def serve_mjpeg(port: int, cut_one_in: int) -> None:
    """Every client gets JPEGs; of so many one is cut short, 0 for none."""
    import cv2

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for number in ticks():
                    data = cv2.imencode(".jpg", draw_code(now_ms()))[1].tobytes()
                    if cut_one_in and number % cut_one_in == cut_one_in - 1:
                        data = data[: len(data) // 2]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
            except OSError:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Camera).serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("ts", "udp", "mjpeg"))
    parser.add_argument("port", type=int)
    parser.add_argument("--cut-one-in", type=int, default=0, help="JPEGs of which one is cut short")
    given = parser.parse_args()
    if given.kind == "ts":
        serve_ts(f"tcp://127.0.0.1:{given.port}?listen=1")
    elif given.kind == "udp":
        serve_ts(f"udp://127.0.0.1:{given.port}?pkt_size=1316")
    else:
        serve_mjpeg(given.port, given.cut_one_in)


if __name__ == "__main__":
    main()
