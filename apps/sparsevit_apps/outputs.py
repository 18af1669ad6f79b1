"""Where the results of a run go: one source into the places named, or several into places of their own names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.files import is_replaceable
from sparsevit_runtime.sinks import Sink, folder_of, is_stdout, open_sink
from sparsevit_runtime.sinks.images import PICTURE_SUFFIXES
from sparsevit_runtime.sinks.paths import check_folder
from sparsevit_runtime.sinks.video import VIDEO_SUFFIXES
from sparsevit_runtime.sources import Source
from sparsevit_runtime.sources.images import ImageSource

from .console import file_size, say
from .signals import undisturbed

if TYPE_CHECKING:
    from typing_extensions import Self

#: Added to the name of what is read where nothing says where results go.
_BESIDE = "_sparsevit"
#: What names a camera.
_CAMERA = re.compile(r"(/dev/video)?[0-9]+(\?.*)?$")
#: Parts of a recording that are named one by one.
_NAMED = 8


class Outputs:
    """Opens the sinks of one source after the other.

    JSON lines, windows, and folders of pictures are opened once and take the results of all sources. A video takes one
    source; in a folder that was named with ``-o`` each source that moves gets a video of its own name.

    As a context manager it completes what all sources share, also when Ctrl-C passes, or gives it up when another
    exception does. What came from a live source is completed then, too. In both cases it is said which files are kept.
    A signal waits for what is being completed.

    Args:
        uris: places in any form `open_sink` takes.
        sources: number of sources that will come.
        named: the places were named with ``-o``.
        overwrite: replaces files that this program did not write.
        limit: frames run of each source at most; None for all.

    Raises:
        SinkError: two places are the same, or one cannot take several sources.
    """

    def __init__(
        self,
        uris: Sequence[str],
        sources: int = 1,
        *,
        named: bool = False,
        overwrite: bool = False,
        limit: int | None = None,
    ) -> None:
        places = [place_of(uri) for uri in uris]
        for i, (uri, place) in enumerate(zip(uris, places)):
            if uri in uris[:i] or (place is not None and place in places[:i]):
                raise SinkError(f"the sink {uri!r} is given twice; name each output once")
            if sources > 1 and _suffix(uri) in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES):
                raise SinkError(f"{uri!r} takes one source, and {sources} are given; name a folder: -o out/")
        self._uris = tuple(uris)
        self._named, self._overwrite, self._limit = named, overwrite, limit
        self._shared = ExitStack()
        self._opened: dict[str, Sink] = {}
        self._sinks: list[Sink] = []
        self._recordings: list[Sink] = []  # of live sources
        self._taken: dict[Path, str] = {}  # video in a folder -> its source

    def open(self, source: Source, stack: ExitStack, fps: float | None) -> list[Sink]:
        """The sinks of one source.

        Args:
            source: source whose frames they will get.
            stack: owns those that are this source's alone: completes them, or removes what is half-written when an
                exception passes.
            fps: rate of videos, frames per second.

        Raises:
            SinkError: one cannot be opened, or would replace the source.
        """
        sinks = []
        open_place = partial(open_sink, fps=fps, overwrite=self._overwrite, live=source.live)
        for uri in self._uris:
            place, folder, suffix = place_of(uri), folder_of(uri), _suffix(uri)
            if place is not None and place.is_file() and place == place_of(source.name):
                raise SinkError(f"the sink {uri!r} would replace the source; write to another file")
            if suffix in PICTURE_SUFFIXES and self._limit != 1 and source.frame_count != 1:
                raise SinkError(
                    f"{uri!r} takes one picture, and {source.name} may have more; write to a folder (out/) or a video, "
                    "or run one frame (--frames 1)"
                )
            video: str | Path | None = uri if suffix in VIDEO_SUFFIXES else None
            if folder is not None and self._named and not isinstance(source, ImageSource) and "?" not in uri:
                video = self._video(folder, source)
            if video is not None:
                sinks.append(_enter(open_place(video), stack))
                continue
            if uri not in self._opened:
                self._opened[uri] = _enter(open_place(uri), self._shared)
            sinks.append(self._opened[uri])
        self._sinks += sinks
        if source.live:
            self._recordings += sinks
        return sinks

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._shared.__exit__(kind, error, trace)
        except KeyboardInterrupt as stop:
            kind = type(stop)
            raise
        finally:
            if kind is not None:
                stopped = issubclass(kind, KeyboardInterrupt)
                self._tell(dict.fromkeys(self._sinks if stopped else self._recordings))

    @staticmethod
    def _tell(sinks: Iterable[Sink]) -> None:
        kept = [each for each in written_files(list(sinks)) if each.size]
        if kept:
            with suppress(OSError):  # the terminal that was closed
                say("kept " + ", ".join(f"{each.name} ({each.about})" for each in kept), err=True)

    def _video(self, folder: Path, source: Source) -> Path:
        """The source's video in a folder, which is made when missing."""
        if not folder.exists():
            check_folder(folder.parent)
            folder.mkdir(exist_ok=True)
        read = place_of(source.name)
        stem = _slug(source.name) if read is None else read.stem
        for name in (stem, stem if read is None else f"{read.parent.name}-{stem}"):
            path = folder / f"{name}.mp4"
            if self._taken.setdefault(path, source.name) == source.name:
                return path
        raise SinkError(f"several sources would be written to {str(path)!r}; run them into folders of their own")


def _enter(sink: Sink, stack: ExitStack) -> Sink:
    """Has a stack complete a sink, or give it up when an exception passes that is no Ctrl-C. Signals wait for that."""

    def leave(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with undisturbed():
            if kind is not None and issubclass(kind, KeyboardInterrupt):
                sink.close()
            else:
                sink.__exit__(kind, error, trace)

    stack.push(leave)
    return sink


def default_output(source: Source) -> str:
    """Where results go when nobody says: a window, or without a screen a file beside the one that is read.

    Raises:
        SinkError: there is no screen, and the source is no file.
    """
    try:
        open_sink("display://").abort()
        return "display://"
    except SinkError as error:
        read = place_of(source.name)
        if source.live or read is None or not read.exists():
            raise SinkError(f"{error}: sparsevit run SOURCE out.mp4") from error
    if isinstance(source, ImageSource):
        name = f"{read.stem}{_BESIDE}{read.suffix if read.suffix.lower() in PICTURE_SUFFIXES else '.jpg'}"
        if read.is_dir():
            name = f"{read.name}{_BESIDE}/"
    else:
        name = f"{read.stem}{_BESIDE}.mp4"
    try:
        check_folder(read.parent)
    except SinkError:
        return name  # where it is read nothing can be written
    return f"{read.parent}/{name}"


def check_positional(source: str, sinks: Sequence[str], overwrite: bool) -> None:
    """Refuses what looks like several inputs: ``sparsevit run *.mp4`` must not write the second over the third.

    Raises:
        SinkError: a place is a camera, or a file that this program did not write.
    """
    for uri in sinks:
        if _CAMERA.match(uri):
            raise SinkError(
                f"{uri!r} is a camera, and stands where results go. For several cameras name the output: sparsevit run "
                f"{source} {uri} -o out/. A folder of that name ends with a slash"
            )
        place = place_of(uri)
        if place is not None and not is_replaceable(place, overwrite):
            if place == place_of(source):
                continue  # told with its own words when the sink is opened
            raise SinkError(
                f"{uri!r} exists, and is not known as a result of an earlier run. For several inputs name the output: "
                f"sparsevit run {source} {uri} ... -o out/. To replace the file: --overwrite"
            )


class Written(NamedTuple):
    """What a sink left: name of the file or folder, bytes, the codec of a video, and how many files that are."""

    name: str
    size: int
    codec: str = ""
    files: int = 1

    @property
    def about(self) -> str:
        """Number, codec and size, for people."""
        parts = [f"{self.files} files"] if self.files > 1 else []
        return ", ".join([*parts, *([self.codec] if self.codec else []), file_size(self.size)])


def written_files(sinks: Sequence[Sink]) -> list[Written]:
    """What closed sinks left: files, and folders with all they hold. Many parts of a recording come in one."""
    written = []
    for sink in sinks:
        files = []
        for name in sink.written:
            path = place_of(name)
            if path is not None and path.is_file():
                files.append(Written(name, path.stat().st_size, getattr(sink, "codec", "")))
            elif path is not None and path.is_dir():
                pictures = (p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
                files.append(Written(f"{name.rstrip('/')}/", sum(p.stat().st_size for p in pictures)))
        if len(files) > _NAMED:
            name = f"{files[0].name} to {Path(files[-1].name).name}"
            files = [Written(name, sum(each.size for each in files), files[0].codec, len(files))]
        written += files
    return written


def place_of(uri: str) -> Path | None:
    """The file or folder behind a URI, links followed; None for displays and the like."""
    if "://" in uri or is_stdout(uri):
        return None
    try:
        return Path(uri.partition("?")[0]).expanduser().resolve()
    except (RuntimeError, OSError, ValueError):
        return None  # told when it is opened


def _suffix(uri: str) -> str:
    """Suffix of the file that a sink's URI names, in small letters; empty for a folder and every other form."""
    place = place_of(uri)
    return "" if place is None or folder_of(uri) is not None else place.suffix.lower()


def _slug(name: str) -> str:
    """A file name for a source that has none."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[:60] or "source"
