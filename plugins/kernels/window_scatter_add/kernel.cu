#include "kernels/window_scatter_add/kernel.h"

#include "kernels/element_cast.cuh"

namespace sparsevit
{
namespace
{

constexpr uint32_t kNowhere{0xffffffffU};

//! Vector: 16 bytes, or an element where tokens or addresses allow no more.
template <Element kElement, typename Vector, int32_t kPerThread>
__global__ void __launch_bounds__(WindowWalk::kThreads) scatterAdd(WindowGrid grid, WindowVectors layout,
    uint32_t vectors, uint32_t lanes, int64_t batch, int64_t count, Vector const* __restrict__ tokens,
    Vector const* __restrict__ update, Vector const* __restrict__ bias, WindowIds index, Vector* __restrict__ y)
{
    constexpr int32_t kElements{Lanes<kElement, Vector>::kCount};
    uint32_t const first = blockIdx.x * (WindowWalk::kThreads * kPerThread) + threadIdx.x;
    for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y)
    {
        Vector const* const kept = tokens + sample * vectors;
        Vector const* const added = update + sample * vectors;
        Vector* const map = y + sample * grid.area() * lanes;
        Vector read[kPerThread][3]{};
        uint32_t target[kPerThread];
#pragma unroll
        for (int32_t i = 0; i < kPerThread; ++i)
        {
            uint32_t const vector = first + static_cast<uint32_t>(i) * WindowWalk::kThreads;
            target[i] = kNowhere;
            if (vector < vectors)
            {
                WindowVector const at = layout.at(vector);
                int32_t const address = grid.address(index.at(sample * count + at.position), at.token);
                if (address != kPadding)
                {
                    target[i] = static_cast<uint32_t>(address) * lanes + at.lane;
                    read[i][0] = kept[vector];
                    read[i][1] = added[vector];
                    read[i][2] = bias[at.lane];
                }
            }
        }
#pragma unroll
        for (int32_t i = 0; i < kPerThread; ++i)
        {
            if (target[i] != kNowhere)
            {
                float sums[kElements];
                float terms[kElements];
                float biases[kElements];
                unpack<kElement>(read[i][0], sums);
                unpack<kElement>(read[i][1], terms);
                unpack<kElement>(read[i][2], biases);
#pragma unroll
                for (int32_t j = 0; j < kElements; ++j)
                {
                    sums[j] = sums[j] + terms[j] + biases[j];
                }
                Vector sum{};
                pack<kElement>(sums, sum);
                map[target[i]] = sum;
            }
        }
    }
}

template <Element kElement, typename Vector>
cudaError_t launchAs(WindowScatterAddParams const& p, WindowWalk const& walk, uint32_t lanes, cudaStream_t stream)
{
    auto const kernel = walk.perThread == WindowWalk::kMany ? scatterAdd<kElement, Vector, WindowWalk::kMany>
                                                            : scatterAdd<kElement, Vector, 1>;
    return launch(kernel, walk.blocks, WindowWalk::kThreads, stream, p.grid, WindowVectors{p.grid, lanes},
        static_cast<uint32_t>(walk.vectors), lanes, p.batch, p.count, static_cast<Vector const*>(p.tokens),
        static_cast<Vector const*>(p.update), static_cast<Vector const*>(p.bias), WindowIds{p.index, p.indexBytes == 8},
        static_cast<Vector*>(p.y));
}

} // namespace

cudaError_t launchWindowScatterAdd(WindowScatterAddParams const& p, cudaStream_t stream) noexcept
{
    int64_t const elementBytes = p.element == Element::kFloat ? 4 : 2;
    int64_t const tokenBytes = p.channels * elementBytes;
    bool const isWide = vectorBytes(tokenBytes, {p.tokens, p.update, p.bias, p.y}) == 16;
    int64_t const lanes = isWide ? tokenBytes / 16 : p.channels;
    WindowWalk const walk{p.grid, p.count, lanes, p.batch};
    if (!walk.fits() || (p.indexBytes != 4 && p.indexBytes != 8))
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
    return withElement(p.element,
        [&](auto type)
        {
            constexpr Element kElement = decltype(type)::kValue;
            return isWide ? launchAs<kElement, uint4>(p, walk, laneCount, stream)
                          : launchAs<kElement, typename Cell<kElement>::Type>(p, walk, laneCount, stream);
        });
}

} // namespace sparsevit
