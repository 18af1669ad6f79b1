#include "kernels/window_score/kernel.h"

#include "kernels/launch.cuh"

#include <cuda_fp16.h>

namespace sparsevit
{
namespace
{

constexpr unsigned int kFewThreads{256};
constexpr unsigned int kManyThreads{1024};
constexpr uint32_t kWideTeam{16};
constexpr unsigned int kWarp{32};
constexpr unsigned int kAllLanes{0xffffffffU};

template <Element kElement>
__device__ float magnitude(uint32_t bits)
{
    if constexpr (kElement == Element::kHalf)
    {
        return fabsf(__half2float(__ushort_as_half(static_cast<unsigned short>(bits))));
    }
    else if constexpr (kElement == Element::kBfloat16)
    {
        return fabsf(__uint_as_float(bits << 16));
    }
    else
    {
        return fabsf(__uint_as_float(bits));
    }
}

//! Sum of |x| over one vector.
template <Element kElement>
__device__ float sumMagnitudes(uint4 vector)
{
    uint32_t const words[4]{vector.x, vector.y, vector.z, vector.w};
    float sum = 0.0F;
#pragma unroll
    for (uint32_t const word : words)
    {
        if constexpr (kElement == Element::kFloat)
        {
            sum += magnitude<kElement>(word);
        }
        else
        {
            sum += magnitude<kElement>(word & 0xffffU) + magnitude<kElement>(word >> 16);
        }
    }
    return sum;
}

template <Element kElement>
__device__ float sumMagnitudes(uint32_t vector)
{
    return magnitude<kElement>(vector);
}

template <Element kElement>
__device__ float sumMagnitudes(uint16_t vector)
{
    return magnitude<kElement>(vector);
}

//! One block per window. `team` neighbouring threads (a power of two up to a warp) read one token together.
template <Element kElement, typename Vector, unsigned int kThreads>
__global__ void __launch_bounds__(kThreads) windowScore(WindowGrid grid, int32_t lanes, uint32_t team, int64_t batch,
    float channels, Vector const* __restrict__ x, float* __restrict__ scores)
{
    __shared__ float partial[kThreads / kWarp];
    auto const tokens = static_cast<uint32_t>(grid.tokens());
    uint32_t const teams = kThreads / team;
    uint32_t const member = threadIdx.x & (team - 1);
    for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y)
    {
        Vector const* const map = x + sample * grid.area() * lanes;
        float energy = 0.0F;
        // Every thread of a warp takes every turn: the shuffles need them all.
        for (uint32_t turn = 0; turn < tokens; turn += teams)
        {
            uint32_t const token = turn + threadIdx.x / team;
            int32_t const address = token < tokens ? grid.address(blockIdx.x, token) : kPadding;
            float sum = 0.0F;
            if (address != kPadding)
            {
                Vector const* const row = map + int64_t{address} * lanes;
#pragma unroll 4
                for (int32_t lane = static_cast<int32_t>(member); lane < lanes; lane += static_cast<int32_t>(team))
                {
                    sum += sumMagnitudes<kElement>(row[lane]);
                }
            }
            for (uint32_t apart = team / 2; apart > 0; apart /= 2)
            {
                sum += __shfl_xor_sync(kAllLanes, sum, static_cast<int>(apart));
            }
            if (member == 0)
            {
                float const mean = sum / channels;
                energy += mean * mean;
            }
        }
        for (uint32_t apart = kWarp / 2; apart > 0; apart /= 2)
        {
            energy += __shfl_xor_sync(kAllLanes, energy, static_cast<int>(apart));
        }
        if (threadIdx.x % kWarp == 0)
        {
            partial[threadIdx.x / kWarp] = energy;
        }
        __syncthreads();
        if (threadIdx.x == 0)
        {
            float total = 0.0F;
#pragma unroll
            for (float const part : partial)
            {
                total += part;
            }
            scores[sample * grid.windows() + blockIdx.x] = sqrtf(total);
        }
        __syncthreads();
    }
}

//! Threads per token: about half as many as it has vectors, so that each has a few loads in flight.
uint32_t teamSize(int32_t lanes)
{
    uint32_t team = 1;
    while (team < kWarp && static_cast<int32_t>(4 * team) <= lanes)
    {
        team *= 2;
    }
    return team;
}

template <Element kElement, typename Vector>
cudaError_t launchAs(WindowScoreParams const& p, int64_t lanes, cudaStream_t stream)
{
    auto const laneCount = static_cast<int32_t>(lanes);
    uint32_t const team = teamSize(laneCount);
    dim3 const blocks{static_cast<unsigned int>(p.grid.windows()), sampleBlocks(p.batch)};
    auto const run = [&](auto kernel, unsigned int threads)
    {
        return launch(kernel, blocks, threads, stream, p.grid, laneCount, team, p.batch,
            static_cast<float>(p.channels), static_cast<Vector const*>(p.x), p.scores);
    };
    // Wide tokens belong to deep stages, whose few windows leave a large GPU idle: more threads for each of them. The
    // choice must not depend on the number of windows, or an image's scores would depend on its batch.
    return team < kWideTeam ? run(windowScore<kElement, Vector, kFewThreads>, kFewThreads)
                            : run(windowScore<kElement, Vector, kManyThreads>, kManyThreads);
}

template <Element kElement>
cudaError_t launchElement(WindowScoreParams const& p, cudaStream_t stream)
{
    constexpr int32_t kBytes = kElement == Element::kFloat ? 4 : 2;
    int64_t const tokenBytes = p.channels * kBytes;
    if (vectorBytes(tokenBytes, {p.x}) == 16)
    {
        return launchAs<kElement, VectorOf<16>::Type>(p, tokenBytes / 16, stream);
    }
    return launchAs<kElement, typename VectorOf<kBytes>::Type>(p, p.channels, stream);
}

} // namespace

cudaError_t launchWindowScore(WindowScoreParams const& p, cudaStream_t stream) noexcept
{
    if (p.channels < 1 || p.channels > (int64_t{1} << 30))
    {
        return cudaErrorInvalidValue;
    }
    if (p.batch == 0)
    {
        return cudaSuccess;
    }
    switch (p.element)
    {
    case Element::kFloat: return launchElement<Element::kFloat>(p, stream);
    case Element::kHalf: return launchElement<Element::kHalf>(p, stream);
    case Element::kBfloat16: return launchElement<Element::kBfloat16>(p, stream);
    }
    return cudaErrorInvalidValue;
}

} // namespace sparsevit
