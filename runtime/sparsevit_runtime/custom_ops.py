"""The library of custom ops for ONNX Runtime's CUDA provider: kernels in the place of a file's portable bodies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import BackendError
from .kernel_libraries import packaged_library, read_library, usual_place

FILE_NAME = "libsparsevit_ort.so"
#: Environment variable that names the library, for a build outside the package.
VARIABLE = "SPARSEVIT_ORT_OPS"
_PACKAGED = packaged_library(FILE_NAME)
#: What the library says about itself (plugins/onnxruntime/entry_points.cpp).
_STAMP = re.compile(rb"sparsevit-ort api=(\d+) ([\w=., -]+?) nodes=([\w,]+);")


@dataclass(frozen=True)
class OpsLibrary:
    """A library of custom ops.

    Attributes:
        path: absolute.
        nodes: types of the nodes that it runs.
        built_for: CUDA runtime and GPU architectures it was compiled for.
        onnxruntime: least minor version of ONNX Runtime 1 that it runs in.
    """

    path: Path
    nodes: tuple[str, ...]
    built_for: str
    onnxruntime: int


@dataclass(frozen=True)
class OpsInUse:
    """What the custom ops do for an open model.

    Attributes:
        nodes: types of the file's nodes that they run.
        others: types of its nodes that run as portable bodies.
        library: library they are of; None where none is in use.
        reason: why none is in use; empty where one is.
    """

    nodes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    library: OpsLibrary | None = None
    reason: str = ""

    @classmethod
    def of(cls, library: OpsLibrary, nodes: tuple[str, ...]) -> OpsInUse:
        """
        Args:
            library: library that a session was given.
            nodes: types of the file's nodes of this project's domain.
        """
        run = tuple(node for node in nodes if node in library.nodes)
        return cls(run, tuple(node for node in nodes if node not in run), library)

    def __str__(self) -> str:
        if self.library is None:
            return f"none: {self.reason}"
        rest = f"; {', '.join(self.others)} as portable bodies" if self.others else ""
        return f"{', '.join(self.nodes) or 'no node of this file'} ({self.library.path.name}){rest}"


def find_ops(path: Path | None = None) -> OpsLibrary:
    """Finds the library: `path`, else $SPARSEVIT_ORT_OPS, else the one inside this package.

    Raises:
        BackendError: there is none, with the place where it was looked for, or the file is no such library.
    """
    if path is not None:
        place, origin = Path(path), "LoadOptions.plugins"
    else:
        place, origin = usual_place(VARIABLE, _PACKAGED, f"${VARIABLE} is not set")
    if not place.is_file():
        raise BackendError(
            f"no library of custom ops: looked for {place} ({origin}). Install sparsevit-edge where nvcc is "
            f"(docs/install.md), or name a library with ${VARIABLE}"
        )
    place = place.resolve()
    found = _STAMP.search(read_library(place, FILE_NAME, BackendError))
    if found is None:
        raise BackendError(f"{place} has no custom ops for ONNX Runtime; give the path of {FILE_NAME}")
    nodes = tuple(found[3].decode().split(","))
    return OpsLibrary(place, nodes, found[2].decode(), int(found[1]))
