// Copies into shared memory that go on while their threads do: a thread sees its own after `waitForCopies`, others'
// after a barrier behind that.
#pragma once

#include <cstdint>
#include <cstring>
#include <cuda_runtime.h>

namespace sparsevit
{

//! 16 bytes; both addresses are multiples of 16.
__device__ inline void copyAsync(uint4* to, void const* from)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    auto const address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" : : "r"(address), "l"(from) : "memory");
#else
    *to = *static_cast<uint4 const*>(from);
#endif
}

//! The first `bytes` (0 to 16) from an address that is a multiple of 16, and zeros up to 16.
__device__ inline void copyAsync(uint4* to, void const* from, int32_t bytes)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    auto const address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" : : "r"(address), "l"(from), "r"(bytes) : "memory");
#else
    uint4 value{};
    memcpy(&value, from, static_cast<size_t>(bytes));
    *to = value;
#endif
}

__device__ inline void waitForCopies()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" : : : "memory");
#endif
}

} // namespace sparsevit
