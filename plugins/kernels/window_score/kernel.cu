#include "kernels/window_score/kernel.h"

#include "kernels/launch.cuh"

#include <cuda_fp16.h>

namespace sparsevit
{
namespace
{

constexpr unsigned int kMostThreads{1024};
constexpr uint32_t kTeams{64}; //!< of a block, so many tokens at once: all of a 7x7 window
constexpr uint32_t kMostTeam{kMostThreads / kTeams};
constexpr int32_t kReads{6}; //!< vectors that a thread has under way at once
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

//! Sum over a warp, in all of its threads.
__device__ float sumOfWarp(float value)
{
#pragma unroll
    for (uint32_t apart = kWarp / 2; apart > 0; apart /= 2)
    {
        value += __shfl_xor_sync(kAllLanes, value, static_cast<int>(apart));
    }
    return value;
}

//! One block per window. `team` neighbouring threads (a power of two up to a warp) read one token together.
template <Element kElement, typename Vector>
__global__ void __launch_bounds__(kMostThreads, 1) windowScore(WindowGrid grid, int32_t lanes, uint32_t team,
    int64_t batch, float channels, Vector const* __restrict__ x, float* __restrict__ scores)
{
    __shared__ float partial[kMostThreads / kWarp];
    auto const tokens = static_cast<uint32_t>(grid.tokens());
    auto const step = static_cast<int32_t>(team);
    auto const member = static_cast<int32_t>(threadIdx.x & (team - 1));
    for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y)
    {
        Vector const* const map = x + sample * grid.area() * lanes;
        float energy = 0.0F;
        // Every thread of a warp takes every turn: the shuffles need them all.
        for (uint32_t turn = 0; turn < tokens; turn += kTeams)
        {
            uint32_t const token = turn + threadIdx.x / team;
            int32_t const address = token < tokens ? grid.address(blockIdx.x, token) : kPadding;
            int32_t const end = address != kPadding ? lanes : 0;
            Vector const* const row = map + int64_t{address} * lanes;
            float sum = 0.0F;
            for (int32_t first = member; first < end; first += kReads * step)
            {
                Vector read[kReads];
#pragma unroll
                for (int32_t i = 0; i < kReads; ++i)
                {
                    int32_t const lane = first + i * step;
                    read[i] = lane < end ? row[lane] : Vector{};
                }
#pragma unroll
                for (int32_t i = 0; i < kReads; ++i)
                {
                    sum += sumMagnitudes<kElement>(read[i]);
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
        energy = sumOfWarp(energy);
        if (threadIdx.x % kWarp == 0)
        {
            partial[threadIdx.x / kWarp] = energy;
        }
        __syncthreads();
        if (threadIdx.x < kWarp)
        {
            float const total = sumOfWarp(threadIdx.x < blockDim.x / kWarp ? partial[threadIdx.x] : 0.0F);
            if (threadIdx.x == 0)
            {
                scores[sample * grid.windows() + blockIdx.x] = sqrtf(total);
            }
        }
        __syncthreads();
    }
}

//! Threads per token: about half as many as it has vectors, so that each has a few loads in flight. Wide tokens belong
//! to deep stages, whose few windows leave a large GPU idle: more threads for each of them. The choice must not depend
//! on the number of windows, or an image's scores would depend on its batch.
uint32_t teamSize(int32_t lanes)
{
    uint32_t team = 1;
    while (team < kMostTeam && static_cast<int32_t>(4 * team) <= lanes)
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
    return launch(windowScore<kElement, Vector>, blocks, kTeams * team, stream, p.grid, laneCount, team, p.batch,
        static_cast<float>(p.channels), static_cast<Vector const*>(p.x), p.scores);
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
