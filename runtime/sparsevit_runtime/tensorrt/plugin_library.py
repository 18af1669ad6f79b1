"""Where the plugin library is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import BuildError
from ..kernel_libraries import packaged_library, read_library, usual_place
from ..private_files import is_private
from .cache import recorded_plugins
from .engine_card import sha256

FILE_NAME = "libsparsevit_plugins.so"
PLUGIN_NAMES = (
    *("WindowRank", "WindowGatherNorm", "WindowAttention", "WindowScatterAdd"),
    *("WindowScore", "WindowGather", "WindowScatter"),  # of files exported before
    *("NmsKeep", "MultiLevelRoiAlign"),
)
#: Nodes that TensorRT runs by their functions: its plugins take and give no bytes, shapes are its own, and what follows
#: a product, sums and norms it fuses itself.
WITHOUT_PLUGIN = (
    *("KeepCount", "PatchEmbed", "LabelDecode"),
    *("LinearGelu", "AddNorm", "PatchMergeNorm", "FeatureMapNorm", "FeatureMapNorm32"),
)
PLUGIN_VERSION = "1"
#: Other libraries may have plugins of the same names. Libraries of before have theirs in the empty namespace.
PLUGIN_NAMESPACE = "sparsevit"
#: Environment variable that names the library, for a build outside the package.
VARIABLE = "SPARSEVIT_PLUGINS"
_PACKAGED = packaged_library(FILE_NAME)
#: What the library says about itself (plugins/tensorrt/entry_points.cpp).
_BUILT_FOR = re.compile(rb"sparsevit-plugins (tensorrt=[\w.]+ cudart=\w+ architectures=[\w.,-]+)")


@dataclass(frozen=True)
class PluginLibrary:
    """A plugin library.

    Attributes:
        path: absolute.
        data: the whole file.
        built_for: TensorRT headers, CUDA runtime and GPU architectures it was compiled for; empty when not recorded.
    """

    path: Path
    data: bytes
    built_for: str

    @property
    def is_packaged(self) -> bool:
        """Whether it is the one inside this package, where every run looks."""
        return self.path == _PACKAGED.resolve()

    def check_version(self, flavour: str, version: str) -> None:
        """Refuses a library built for a later major version of TensorRT, whose log it would call wrongly.

        An earlier one works, and writes its errors to stderr.

        Raises:
            BuildError: it is of a later major version.
        """
        major = re.match(r"tensorrt=(\d+)\.", self.built_for)
        if flavour == "tensorrt" and major and int(major[1]) > int(version.split(".")[0]):
            raise BuildError(
                f"{self.path} was built for {self.built_for.split()[0]}, here is TensorRT {version}; build it against "
                "the headers of this version (plugins/README.md), or build with --portable"
            )


def find_plugins(path: str | Path | None = None) -> PluginLibrary:
    """Finds the plugin library to build with: `path`, else $SPARSEVIT_PLUGINS, else the one inside this package.

    Raises:
        BuildError: there is none, with the places where it was looked for, or the file is no shared library.
    """
    if path is not None:
        place, origin = Path(path), "--plugins"
    else:
        place, origin = _usual_place(f"neither --plugins nor ${VARIABLE} is given")
    if place.is_file():
        return _read(place.resolve())
    raise BuildError(
        f"no plugin library: looked for {place} ({origin}). Install sparsevit-edge where nvcc and TensorRT's headers "
        f"are (docs/tensorrt.md), name a library with --plugins or ${VARIABLE}, or build with --portable, which needs "
        "none"
    )


def find_plugins_to_run(built_with: str = "", digest: str | None = None, chosen: Path | None = None) -> PluginLibrary:
    """Finds the plugin library to run with: $SPARSEVIT_PLUGINS, else the one inside this package, else the one that a
    build of this user was made with (`cache.record_plugins`), if it is still the same file.

    A library is code, and an engine may be a stranger's: what its side-car says of a place is told, never loaded.

    Args:
        built_with: path that the side-car says; empty when it says none.
        digest: SHA-256 of the library, as the side-car says.
        chosen: path of the library to run with instead of all these.

    Raises:
        BuildError: BuildError as `find_plugins`.
    """
    if chosen is not None:
        return _read(chosen)
    place, origin = _usual_place(f"${VARIABLE} is not set")
    if place.is_file():
        return _read(place.resolve())
    looked = [f"{place} ({origin})"]
    told = f"; the engine was built with {built_with!r}" if built_with else ""
    if not os.environ.get(VARIABLE) and digest is not None:
        recorded = recorded_plugins(digest)
        if recorded is None:
            told += ", which no build of this user noted in the cache" if told else ""
        elif not recorded.is_file():
            looked.append(f"{recorded} (a build of yours)")
        elif not is_private(recorded):
            looked.append(f"{recorded} (a build of yours; others may replace it there)")
        else:
            library = _read(recorded)
            if sha256(library.data) == digest:
                return library
            looked.append(f"{recorded} (a build of yours; it is another file now)")
    raise BuildError(
        f"no plugin library: looked for {' and '.join(looked)}{told}. If you trust a library, name it in ${VARIABLE}; "
        "or install sparsevit-edge where nvcc and TensorRT's headers are (docs/tensorrt.md), or build the engine again "
        "with --portable, which needs none"
    )


def _usual_place(otherwise: str) -> tuple[Path, str]:
    return usual_place(VARIABLE, _PACKAGED, otherwise)


def _read(path: Path) -> PluginLibrary:
    data = read_library(path, FILE_NAME, BuildError)
    found = _BUILT_FOR.search(data)
    return PluginLibrary(path, data, found[1].decode() if found else "")
