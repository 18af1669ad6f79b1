"""How execution contexts are made, on stand-ins for TensorRT's modules."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace as Thing

import pytest

from sparsevit_runtime.tensorrt import capabilities

STRATEGY = Thing(USER_MANAGED="user managed")


def test_contexts_come_without_memory_for_activations():
    engine = Thing(create_execution_context=lambda strategy: f"context, {strategy}")
    for trt in (
        Thing(ExecutionContextAllocationStrategy=STRATEGY),  # 10.3
        Thing(ExecutionContextAllocationStrategy=STRATEGY, IRuntimeConfig=Thing()),  # 11
    ):
        assert capabilities.context_maker(trt, engine)() == "context, user managed"


class Cache:
    """Of compiled kernels."""


class Config:
    """Of TensorRT for RTX: it borrows its cache."""

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def create_runtime_cache(self):
        return Cache()

    def set_runtime_cache(self, cache):
        self.cache = weakref.ref(cache)


def test_contexts_of_rtx_share_their_compiled_kernels():
    made = []
    engine = Thing(create_runtime_config=Config, create_execution_context=made.append)
    make = capabilities.context_maker(Thing(ExecutionContextAllocationStrategy=STRATEGY, IRuntimeConfig=Config), engine)
    gc.collect()
    make(), make()
    assert made[0] is made[1] and made[0].strategy == "user managed"
    assert made[0].cache() is not None


@pytest.mark.parametrize("flavour", capabilities.FLAVOURS)
def test_an_installed_tensorrt_has_the_names(flavour):
    trt = pytest.importorskip(flavour)
    assert hasattr(trt.ExecutionContextAllocationStrategy, "USER_MANAGED")
    assert hasattr(trt.IExecutionContext, "set_device_memory")
    assert hasattr(trt.ICudaEngine, "device_memory_size_v2")
    if hasattr(trt.IRuntimeConfig, "create_runtime_cache"):
        assert hasattr(trt.ICudaEngine, "create_runtime_config")
        assert hasattr(trt.IRuntimeConfig, "set_execution_context_allocation_strategy")
        assert hasattr(trt.IRuntimeConfig, "set_runtime_cache")
