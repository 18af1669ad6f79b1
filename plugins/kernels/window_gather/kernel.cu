#include "kernels/window_gather/kernel.h"

#include "kernels/launch.cuh"

namespace sparsevit
{
namespace
{

template <typename Vector, typename Index, int32_t kPerThread>
__global__ void __launch_bounds__(WindowWalk::kThreads)
    windowGather(WindowGrid grid, WindowVectors layout, uint32_t vectors, uint32_t lanes, int64_t batch, int64_t count,
        Vector const* __restrict__ x, Index const* __restrict__ index, Vector* __restrict__ windows)
{
    uint32_t const first = blockIdx.x * (WindowWalk::kThreads * kPerThread) + threadIdx.x;
    for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y)
    {
        Vector const* const map = x + sample * grid.area() * lanes;
        Index const* const list = index + sample * count;
        Vector* const out = windows + sample * vectors;
        Vector read[kPerThread];
#pragma unroll
        for (int32_t i = 0; i < kPerThread; ++i)
        {
            uint32_t const vector = first + static_cast<uint32_t>(i) * WindowWalk::kThreads;
            read[i] = Vector{};
            if (vector < vectors)
            {
                WindowVector const at = layout.at(vector);
                int32_t const address = grid.address(list[at.position], at.token);
                if (address != kPadding)
                {
                    read[i] = map[static_cast<uint32_t>(address) * lanes + at.lane];
                }
            }
        }
#pragma unroll
        for (int32_t i = 0; i < kPerThread; ++i)
        {
            uint32_t const vector = first + static_cast<uint32_t>(i) * WindowWalk::kThreads;
            if (vector < vectors)
            {
                out[vector] = read[i];
            }
        }
    }
}

} // namespace

cudaError_t launchWindowGather(WindowGatherParams const& p, cudaStream_t stream) noexcept
{
    int64_t const tokenBytes = p.channels * p.elementBytes;
    int32_t const bytes = vectorBytes(tokenBytes, {p.x, p.windows});
    int64_t const lanes = tokenBytes / bytes;
    WindowWalk const walk{p.grid, p.count, lanes, p.batch};
    if (!walk.fits())
    {
        return cudaErrorInvalidValue;
    }
    if (walk.isEmpty())
    {
        return cudaSuccess;
    }
    auto const laneCount = static_cast<uint32_t>(lanes);
    WindowVectors const layout{p.grid, laneCount};
    return withVector(bytes,
        [&](auto vector)
        {
            return withIndex(p.indexBytes,
                [&](auto id)
                {
                    using Vector = decltype(vector);
                    using Index = decltype(id);
                    auto const kernel = walk.perThread == WindowWalk::kMany
                        ? windowGather<Vector, Index, WindowWalk::kMany>
                        : windowGather<Vector, Index, 1>;
                    return launch(kernel, walk.blocks, WindowWalk::kThreads, stream, p.grid, layout,
                        static_cast<uint32_t>(walk.vectors), laneCount, p.batch, p.count,
                        static_cast<Vector const*>(p.x), static_cast<Index const*>(p.index),
                        static_cast<Vector*>(p.windows));
                });
        });
}

} // namespace sparsevit
