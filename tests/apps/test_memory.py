"""Memory of commands that run for months; what the garbage collector passes over is in test_running.py."""

from __future__ import annotations

import platform
import subprocess
import sys
import time

import pytest

from sparsevit_apps.memory import Upkeep

#: Blocks as threads leave them: every eighth is held, so that what lies between is free and not at the end of a heap.
SCATTERED = """
import ctypes, resource
from pathlib import Path
from sparsevit_apps.memory import give_back

def rss_kib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(16_000) for _ in range(2_000)]
for block in blocks:
    ctypes.memset(block, 1, 16_000)
for i, block in enumerate(blocks):
    if i % 8:
        libc.free(block)
before = rss_kib()
give_back()
print(before - rss_kib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is free in its heaps")
def test_what_is_free_between_blocks_that_are_held_is_given_back():
    done = subprocess.run(
        [sys.executable, "-c", SCATTERED], capture_output=True, text=True, check=True, env={"PYTHONPATH": _path()}
    )
    freed_kib = 2_000 * 7 / 8 * 16_000 / 1024
    assert int(done.stdout) > 0.6 * freed_kib


def test_memory_is_given_back_now_and_then():
    upkeep = Upkeep(every_s=0.2)
    assert not upkeep.look()
    time.sleep(0.21)
    assert upkeep.look()
    assert not upkeep.look()


def _path() -> str:
    return ":".join(filter(None, sys.path))
