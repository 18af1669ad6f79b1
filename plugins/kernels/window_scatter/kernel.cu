#include "kernels/window_scatter/kernel.h"

#include "kernels/launch.cuh"

namespace sparsevit
{
namespace
{

constexpr uint32_t kNowhere{0xffffffffU};

template <typename Vector, typename Index, int32_t kPerThread>
__global__ void __launch_bounds__(WindowWalk::kThreads)
    windowScatter(WindowGrid grid, WindowVectors layout, uint32_t vectors, uint32_t lanes, int64_t batch, int64_t count,
        Vector const* __restrict__ windows, Index const* __restrict__ index, Vector* __restrict__ y)
{
    uint32_t const first = blockIdx.x * (WindowWalk::kThreads * kPerThread) + threadIdx.x;
    for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y)
    {
        Vector const* const in = windows + sample * vectors;
        Index const* const list = index + sample * count;
        Vector* const map = y + sample * grid.area() * lanes;
        Vector read[kPerThread];
        uint32_t target[kPerThread];
#pragma unroll
        for (int32_t i = 0; i < kPerThread; ++i)
        {
            uint32_t const vector = first + static_cast<uint32_t>(i) * WindowWalk::kThreads;
            target[i] = kNowhere;
            if (vector < vectors)
            {
                WindowVector const at = layout.at(vector);
                int32_t const address = grid.address(list[at.position], at.token);
                if (address != kPadding)
                {
                    target[i] = static_cast<uint32_t>(address) * lanes + at.lane;
                    read[i] = in[vector];
                }
            }
        }
#pragma unroll
        for (int32_t i = 0; i < kPerThread; ++i)
        {
            if (target[i] != kNowhere)
            {
                map[target[i]] = read[i];
            }
        }
    }
}

} // namespace

cudaError_t launchWindowScatter(WindowScatterParams const& p, cudaStream_t stream) noexcept
{
    int64_t const tokenBytes = p.channels * p.elementBytes;
    int32_t const bytes = vectorBytes(tokenBytes, {p.windows, p.y});
    int64_t const lanes = tokenBytes / bytes;
    WindowWalk const walk{p.grid, p.count, lanes, p.batch};
    if (!walk.fits())
    {
        return cudaErrorInvalidValue;
    }
    int64_t const mapBytes = p.batch * p.grid.area() * tokenBytes;
    if (p.y != p.x && mapBytes != 0 && p.count != p.grid.windows())
    {
        cudaError_t const copied =
            cudaMemcpyAsync(p.y, p.x, static_cast<size_t>(mapBytes), cudaMemcpyDeviceToDevice, stream);
        if (copied != cudaSuccess)
        {
            return copied;
        }
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
                        ? windowScatter<Vector, Index, WindowWalk::kMany>
                        : windowScatter<Vector, Index, 1>;
                    return launch(kernel, walk.blocks, WindowWalk::kThreads, stream, p.grid, layout,
                        static_cast<uint32_t>(walk.vectors), laneCount, p.batch, p.count,
                        static_cast<Vector const*>(p.windows), static_cast<Index const*>(p.index),
                        static_cast<Vector*>(p.y));
                });
        });
}

} // namespace sparsevit
