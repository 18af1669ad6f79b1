"""Opens an http address as what its server says it is, whatever its path looks like."""

from __future__ import annotations

from ..errors import ImageError, PermanentSourceError, SourceError
from ..images.image_files import decode_image
from .animation import is_animated
from .base import Frame, Source, Timeouts
from .http_address import HttpAnswer, ask, ends, read_trust
from .mjpeg import MjpegSource
from .network import NetworkSource
from .video import VideoSource

#: Bytes of a picture that are read at most.
_LONGEST_IMAGE = 256 * 2**20
#: How pictures begin whose server does not name their type.
_IMAGE_HEADS = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*")
_VAGUE = ("", "application/octet-stream", "binary/octet-stream", "text/plain", "application/x-download")


class HttpImageSource(Source):
    """The picture behind an http address: one frame, and the end.

    Args:
        answer: answer of the server; closed here.

    Raises:
        SourceError: it is cut short, or does not decode.
    """

    def __init__(self, answer: HttpAnswer) -> None:
        self.name = answer.name
        self.frame_count = 1
        data = answer.read_all(_LONGEST_IMAGE)
        answer.close()
        if is_animated(data):
            raise SourceError(f"{self.name} is an animated picture; download it, and give the file")
        try:
            image = decode_image(data)
        except ImageError as error:
            raise SourceError(f"the image {self.name} is no whole picture: {error}; download it to see") from error
        height, width = image.shape[:2]
        self.size_wh = (width, height)
        self._frame: Frame | None = Frame(image, 0, 0)

    def read(self) -> Frame | None:
        frame, self._frame = self._frame, None
        return frame

    def close(self) -> None:
        self._frame = None


def open_http(url: str, timeouts: Timeouts | None = None) -> Source:
    """Opens an http(s) address: a picture or a video that ends, or a camera that goes on (`live`).

    Args:
        url: address; of ``https://`` with ``?ca=FILE`` for certificates of one's own, or ``?verify=no``.
        timeouts: limits of the connection.

    Raises:
        PermanentSourceError: the address is not valid, user and password are refused, the server's certificate is not
            trusted, or a web page is served.
        SourceError: the host is unknown or not reached, the server fails, or nothing decodes.
    """
    timeouts = timeouts or Timeouts()
    url, trust = read_trust(url)
    answer = ask(url, timeouts, trust)
    try:
        if answer.content_type.startswith("multipart/"):
            return MjpegSource(answer, timeouts)
        if _is_image(answer):
            return HttpImageSource(answer)
        if answer.content_type in ("text/html", "application/xhtml+xml"):
            raise PermanentSourceError(
                f"{answer.name} is a web page (text/html), no stream; look up the stream's own address in the camera's "
                "manual, or behind the picture in that page"
            )
        ended = ends(answer, url, timeouts, trust)
    except BaseException:
        answer.close()
        raise
    answer.close()
    if not ended:
        return NetworkSource(url, timeouts.open_ms, timeouts.read_ms)

    def check_link() -> None:
        ask(url, timeouts, trust).close()

    return VideoSource(url, answer.name, timeouts, check_link)


def _is_image(answer: HttpAnswer) -> bool:
    kind = answer.content_type
    if kind.startswith("image/"):
        return kind != "image/gif"  # a video as far as decoding goes
    return kind in _VAGUE and (answer.peek().startswith(_IMAGE_HEADS) or answer.peek()[8:12] == b"WEBP")
