import subprocess
import sys
from pathlib import Path

import sparsevit_runtime

PROGRAM = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "tensorrt", "tensorrt_rtx", "cuda", "onnx", "onnxruntime", "cv2"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
import sparsevit_runtime.tensorrt as tensorrt
import sparsevit_runtime.tensorrt.worker
print(sorted(tensorrt.__all__) == sorted(n for n in tensorrt.__all__ if hasattr(tensorrt, n)))
"""


def test_importing_needs_neither_tensorrt_nor_onnx_nor_torch():
    where = str(Path(sparsevit_runtime.__file__).parents[1])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {where!r})\n{PROGRAM}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\n", "")
