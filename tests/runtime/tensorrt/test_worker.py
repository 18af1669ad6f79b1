from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict

from sparsevit_runtime.child_process import command
from sparsevit_runtime.tensorrt.messages import Request


def test_without_the_links_the_worker_says_so_instead_of_ending(rtx, exported, tmp_path):
    """The parser of TensorRT for RTX ends the process that creates it where it does not find its core."""
    request = Request(
        flavour="tensorrt_rtx",
        model=str(exported()),
        source=str(exported()),
        plugins=None,
        nodes=[],
        precision="fp32",
        tf32=False,
        in_place=False,
        profile={},
        levels=[],
        workspace=1 << 20,
        engine=str(tmp_path / "m.engine"),
        timing_cache=None,
        timing_cache_name=None,
        timing_cache_out=None,
        gpu=False,
    )
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    done = subprocess.run(
        command("sparsevit_runtime.tensorrt.worker"),
        input=json.dumps(asdict(request)),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert "put a link of that name" in json.loads(done.stdout)["error"]
    assert "RuntimeWarning" not in done.stderr
