// What the kernels share: vectors of bytes, the number of blocks, and launches that return their own error.
#pragma once

#include "kernels/window_index.h"

#include <cstdint>
#include <cuda_runtime.h>
#include <initializer_list>
#include <utility>

//! The shared memory that a launch asks for, as vectors of 16 bytes. The host, which runs kernels in tests, has its own.
#ifndef SPARSEVIT_SHARED_MEMORY
#define SPARSEVIT_SHARED_MEMORY(name) extern __shared__ uint4 name[]
#endif

namespace sparsevit
{

template <int32_t kBytes>
struct VectorOf;

template <>
struct VectorOf<16>
{
    using Type = uint4;
};
template <>
struct VectorOf<8>
{
    using Type = uint2;
};
template <>
struct VectorOf<4>
{
    using Type = uint32_t;
};
template <>
struct VectorOf<2>
{
    using Type = uint16_t;
};

//! Widest vector, 16 bytes at most, that divides a token's bytes and to which every address is aligned.
inline int32_t vectorBytes(int64_t tokenBytes, std::initializer_list<void const*> addresses)
{
    auto bits = static_cast<uintptr_t>(tokenBytes);
    for (void const* address : addresses)
    {
        bits |= reinterpret_cast<uintptr_t>(address);
    }
    int32_t bytes = 16;
    while (bits % static_cast<uintptr_t>(bytes) != 0)
    {
        bytes /= 2;
    }
    return bytes;
}

//! Samples run along grid.y, whose limit is 65535; kernels step over the rest.
inline unsigned int sampleBlocks(int64_t batch)
{
    return static_cast<unsigned int>(batch < 65535 ? batch : 65535);
}

//! Blocks, threads of a block, and the bytes of shared memory that a block finds at SPARSEVIT_SHARED_MEMORY.
struct Launch
{
    dim3 grid;
    unsigned int threads;
    size_t sharedBytes;
};

//! Launches a kernel and returns that launch's error, never a stale one of an earlier call.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(Launch shape, void (*kernel)(Parameters...), cudaStream_t stream, Arguments&&... arguments)
{
    cudaLaunchConfig_t config{};
    config.gridDim = shape.grid;
    config.blockDim = dim3{shape.threads};
    config.dynamicSmemBytes = shape.sharedBytes;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch(
    void (*kernel)(Parameters...), dim3 grid, unsigned int threads, cudaStream_t stream, Arguments&&... arguments)
{
    return launch(Launch{grid, threads, 0}, kernel, stream, std::forward<Arguments>(arguments)...);
}

//! Calls `function` with a zero of the unsigned vector type that has `bytes` bytes.
template <typename Function>
cudaError_t withVector(int32_t bytes, Function&& function)
{
    switch (bytes)
    {
    case 16: return function(VectorOf<16>::Type{});
    case 8: return function(VectorOf<8>::Type{});
    case 4: return function(VectorOf<4>::Type{});
    case 2: return function(VectorOf<2>::Type{});
    default: return cudaErrorInvalidValue;
    }
}

//! Calls `function` with a zero of the index type that has `bytes` bytes.
template <typename Function>
cudaError_t withIndex(int32_t bytes, Function&& function)
{
    switch (bytes)
    {
    case 8: return function(int64_t{});
    case 4: return function(int32_t{});
    default: return cudaErrorInvalidValue;
    }
}

//! How threads share a list of windows: blocks of kThreads threads, each thread `perThread` vectors apart by kThreads.
struct WindowWalk
{
    static constexpr unsigned int kThreads{256};
    static constexpr int32_t kMany{4};
    //! From here on there are threads enough to fill any device, and several loads in flight per thread hide latency.
    static constexpr int64_t kManyVectors{int64_t{1} << 20};
    //! The arithmetic is exact below 2^31; the last block may count past the end.
    static constexpr int64_t kLimit{(int64_t{1} << 31) - kMany * int64_t{kThreads}};

    int64_t vectors;    //!< in the list of one sample
    int64_t mapVectors; //!< in the map of one sample
    int32_t perThread;
    dim3 blocks;

    WindowWalk(WindowGrid const& grid, int64_t count, int64_t lanes, int64_t batch)
        : vectors{count * grid.tokens() * lanes}
        , mapVectors{grid.area() * lanes}
        , perThread{vectors * batch >= kManyVectors ? kMany : 1}
    {
        int64_t const perBlock = int64_t{kThreads} * perThread;
        blocks = dim3{static_cast<unsigned int>((vectors + perBlock - 1) / perBlock), sampleBlocks(batch)};
    }

    bool isEmpty() const
    {
        return vectors == 0 || blocks.y == 0;
    }

    bool fits() const
    {
        return vectors <= kLimit && mapVectors <= kLimit;
    }
};

} // namespace sparsevit
