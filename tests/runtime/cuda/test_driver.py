"""Machines on which CUDA does not start, with each generation of cuda-python."""

from __future__ import annotations

import pytest

from simulated_gpu import Cuda
from sparsevit_runtime.cuda import CudaError, CudaRuntime, bindings, open_cuda
from sparsevit_runtime.errors import BackendError, MissingDependencyError


class WithoutDriver:
    """What cuda-python 12.3 does where there is no driver: it raises."""

    cudaError_t = Cuda.cudaError_t

    def cudaGetDeviceCount(self):
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    def cudaDriverGetVersion(self):
        raise RuntimeError('Function "cuDriverGetVersion" not found')

    def cudaRuntimeGetVersion(self):
        return 0, 12030


def test_a_driver_that_does_not_load():
    with pytest.raises(CudaError, match=r"no GPU to run on.*dlopen libcuda.so.1.*is for CUDA 12.3. Install NVIDIA's"):
        CudaRuntime(WithoutDriver())


def test_a_driver_that_does_not_load_nor_says_its_version():
    class Silent(WithoutDriver):
        def cudaRuntimeGetVersion(self):
            raise RuntimeError("not found")

    with pytest.raises(CudaError, match="that it does not tell. Install NVIDIA's"):
        CudaRuntime(Silent())


def test_a_driver_without_a_function():
    cuda = Cuda()
    runtime = CudaRuntime(cuda)

    def absent(*arguments):
        raise RuntimeError('Function "cuMemAlloc_v2" not found')

    cuda.cudaMalloc = absent
    with pytest.raises(CudaError, match="cudaMalloc cannot be called .*cuMemAlloc_v2") as error:
        runtime.call("cudaMalloc", 1)
    assert error.value.name == "cudaErrorInsufficientDriver"


def test_cuda_python_that_is_absent_or_broken(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half_bindings.py").write_text("import no_such_library\n")
    monkeypatch.setattr(bindings, "_PLACES", ("no_such_package.runtime", "half_bindings"))
    with pytest.raises(BackendError, match="does not load .*no_such_library.*install it again"):
        open_cuda()
    monkeypatch.setattr(bindings, "_PLACES", ("no_such_package.runtime", "no_such_bindings"))
    with pytest.raises(MissingDependencyError, match="cuda-python"):
        open_cuda()
