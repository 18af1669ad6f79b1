"""Chooses the run-time requirements at build time, so that an install never breaks what a device already has.

onnxruntime and onnxruntime-gpu write the same files, as do the flavours of OpenCV, and JetPack's OpenCV (with
GStreamer) is not known to pip at all. Whoever already provides `onnxruntime` or `cv2` in the target environment keeps
doing so; only where nobody does is the plain PyPI package required. A Jetson never gets OpenCV from PyPI.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ALWAYS = ["numpy>=1.24", "pydantic>=2.5", "typer>=0.12", "rich>=13"]
#: import name -> (requirement, distribution that satisfies it)
CHOSEN = {
    "onnxruntime": ("onnxruntime>=1.18", "onnxruntime"),
    "cv2": ("opencv-python-headless>=4.8", "opencv-python-headless"),
}
_JETSON = Path("/etc/nv_tegra_release")

_PROBE = """
import importlib.metadata, importlib.util, json, sys
owners = importlib.metadata.packages_distributions()
print(json.dumps({n: owners.get(n, []) if importlib.util.find_spec(n) else None for n in sys.argv[1:]}))
"""


def providers(python: str = sys.executable) -> dict[str, list[str] | None]:
    """Who provides each chosen import in the target environment: distribution names, [] if unknown, None if nobody."""
    # pip's isolated build hides the target environment behind these variables.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    run = subprocess.run(
        [python, "-c", _PROBE, *CHOSEN], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    return json.loads(run.stdout) if run.returncode == 0 else dict.fromkeys(CHOSEN)


def requirements(found: Mapping[str, list[str] | None], jetson: bool) -> list[str]:
    """Requirements for an environment where `found` provides the chosen imports."""
    chosen = []
    for name, (requirement, distribution) in CHOSEN.items():
        owners = found[name]
        provided_by_another = owners is not None and distribution not in owners
        if provided_by_another or (jetson and name == "cv2"):
            continue
        chosen.append(requirement)
    return ALWAYS + chosen


def dynamic_metadata(field: str, settings: Mapping[str, Any] | None = None, _project: Any = None) -> list[str]:
    """Entry point for scikit-build-core."""
    if field != "dependencies":
        raise ValueError(f"only dependencies are chosen here, not {field!r}")
    return requirements(providers(), _JETSON.exists())
