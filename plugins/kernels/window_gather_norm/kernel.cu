#include "kernels/window_gather_norm/kernel.h"

#include "kernels/element_cast.cuh"
#include "kernels/token_team.h"

namespace sparsevit
{
namespace
{

constexpr uint32_t kThreads{256};
constexpr uint32_t kWarp{32};

//! What all threads are given.
struct Windows
{
    WindowGrid grid;
    Divisor byTokens;
    uint32_t tokens; //!< of a sample: k * t
    WindowIds index;
    int64_t batch;
    int64_t count;
    int32_t lanes; //!< vectors of a token
    float channels;
    float epsilon;

    //! Address on the map of the token-th token of a sample's list, or kPadding.
    __device__ int32_t address(int64_t sample, uint32_t token) const
    {
        if (token >= tokens)
        {
            return kPadding;
        }
        uint32_t const position = byTokens.split(token);
        return grid.address(index.at(sample * count + position), token);
    }
};

//! Sum over the threads of a team, in all of them.
__device__ float sumOf(float value, uint32_t team)
{
    for (uint32_t apart = team / 2; apart > 0; apart /= 2)
    {
        value += __shfl_xor_sync(0xffffffffU, value, static_cast<int>(apart));
    }
    return value;
}

//! `team` neighbouring threads take a token, kHeld vectors each.
template <Element kElement, int32_t kHeld>
__global__ void __launch_bounds__(kThreads)
    gatherNorm(Windows windows, uint32_t team, uint4 const* __restrict__ x, uint4 const* __restrict__ scale,
        uint4 const* __restrict__ bias, uint4* __restrict__ tokens, uint4* __restrict__ normed)
{
    constexpr int32_t kElements{Lanes<kElement, uint4>::kCount};
    auto const member = static_cast<int32_t>(threadIdx.x & (team - 1));
    auto const stride = static_cast<int32_t>(team);
    uint32_t const token = blockIdx.x * (kThreads / team) + threadIdx.x / team;
    int32_t const lanes = windows.lanes;
    // Every thread of a warp takes every turn: the shuffles need them all.
    for (int64_t sample = blockIdx.y; sample < windows.batch; sample += gridDim.y)
    {
        int32_t const address = windows.address(sample, token);
        uint4 const* const from = x + (sample * windows.grid.area() + address) * lanes;
        uint4 read[kHeld];
        float sum = 0.0F;
#pragma unroll
        for (int32_t i = 0; i < kHeld; ++i)
        {
            int32_t const lane = member + i * stride;
            read[i] = uint4{};
            if (lane < lanes && address != kPadding)
            {
                read[i] = from[lane];
            }
        }
#pragma unroll
        for (int32_t i = 0; i < kHeld; ++i)
        {
            float values[kElements];
            unpack<kElement>(read[i], values);
#pragma unroll
            for (float const value : values)
            {
                sum += value;
            }
        }
        float const mean = sumOf(sum, team) / windows.channels;
        float squares = 0.0F;
#pragma unroll
        for (int32_t i = 0; i < kHeld; ++i)
        {
            float values[kElements];
            unpack<kElement>(read[i], values);
            if (member + i * stride < lanes)
            {
#pragma unroll
                for (float const value : values)
                {
                    squares += (value - mean) * (value - mean);
                }
            }
        }
        float const inverse = 1.0F / sqrtf(sumOf(squares, team) / windows.channels + windows.epsilon);
        int64_t const to = (sample * windows.tokens + token) * lanes;
#pragma unroll
        for (int32_t i = 0; i < kHeld; ++i)
        {
            int32_t const lane = member + i * stride;
            if (lane < lanes && token < windows.tokens)
            {
                float values[kElements];
                float factors[kElements];
                float terms[kElements];
                unpack<kElement>(read[i], values);
                unpack<kElement>(scale[lane], factors);
                unpack<kElement>(bias[lane], terms);
#pragma unroll
                for (int32_t j = 0; j < kElements; ++j)
                {
                    values[j] = (values[j] - mean) * inverse * factors[j] + terms[j];
                }
                uint4 answer{};
                pack<kElement>(values, answer);
                tokens[to + lane] = read[i];
                normed[to + lane] = answer;
            }
        }
    }
}

//! A warp takes a token, element by element, and reads it three times.
template <Element kElement>
__global__ void __launch_bounds__(kThreads)
    gatherNormPlain(Windows windows, typename Cell<kElement>::Type const* __restrict__ x,
        typename Cell<kElement>::Type const* __restrict__ scale, typename Cell<kElement>::Type const* __restrict__ bias,
        typename Cell<kElement>::Type* __restrict__ tokens, typename Cell<kElement>::Type* __restrict__ normed)
{
    using Type = typename Cell<kElement>::Type;
    auto const member = static_cast<int32_t>(threadIdx.x % kWarp);
    uint32_t const token = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
    int32_t const channels = windows.lanes;
    for (int64_t sample = blockIdx.y; sample < windows.batch; sample += gridDim.y)
    {
        int32_t const address = windows.address(sample, token);
        Type const* const from = x + (sample * windows.grid.area() + address) * channels;
        auto const at = [&](int32_t channel)
        {
            return address == kPadding ? Type{} : from[channel];
        };
        float sum = 0.0F;
        for (int32_t i = member; i < channels; i += static_cast<int32_t>(kWarp))
        {
            sum += toFloat<kElement>(at(i));
        }
        float const mean = sumOf(sum, kWarp) / windows.channels;
        float squares = 0.0F;
        for (int32_t i = member; i < channels; i += static_cast<int32_t>(kWarp))
        {
            float const deviation = toFloat<kElement>(at(i)) - mean;
            squares += deviation * deviation;
        }
        float const inverse = 1.0F / sqrtf(sumOf(squares, kWarp) / windows.channels + windows.epsilon);
        int64_t const to = (sample * windows.tokens + token) * channels;
        for (int32_t i = member; i < channels && token < windows.tokens; i += static_cast<int32_t>(kWarp))
        {
            Type const value = at(i);
            tokens[to + i] = value;
            normed[to + i] = fromFloat<kElement>(
                (toFloat<kElement>(value) - mean) * inverse * toFloat<kElement>(scale[i]) + toFloat<kElement>(bias[i]));
        }
    }
}

template <Element kElement>
cudaError_t launchAs(WindowGatherNormParams const& p, cudaStream_t stream)
{
    using Type = typename Cell<kElement>::Type;
    int64_t const tokens = p.count * p.grid.tokens();
    int64_t const tokenBytes = p.channels * static_cast<int64_t>(sizeof(Type));
    bool const isAligned = vectorBytes(tokenBytes, {p.x, p.scale, p.bias, p.tokens, p.normed}) == 16;
    TokenTeam const team = isAligned ? tokenTeam(tokenBytes / 16) : TokenTeam{0, 0};
    bool const isHeld = team.held != 0;
    Windows windows{};
    windows.grid = p.grid;
    windows.byTokens = Divisor{static_cast<uint32_t>(p.grid.tokens())};
    windows.tokens = static_cast<uint32_t>(tokens);
    windows.index = WindowIds{p.index, p.indexBytes == 8};
    windows.batch = p.batch;
    windows.count = p.count;
    windows.lanes = static_cast<int32_t>(isHeld ? tokenBytes / 16 : p.channels);
    windows.channels = static_cast<float>(p.channels);
    windows.epsilon = p.epsilon;
    int64_t const perBlock = isHeld ? int64_t{kThreads} / team.threads : int64_t{kThreads / kWarp};
    dim3 const blocks{static_cast<unsigned int>((tokens + perBlock - 1) / perBlock), sampleBlocks(p.batch)};
    auto const held = [&](auto kernel)
    {
        return launch(kernel, blocks, kThreads, stream, windows, static_cast<uint32_t>(team.threads),
            static_cast<uint4 const*>(p.x), static_cast<uint4 const*>(p.scale), static_cast<uint4 const*>(p.bias),
            static_cast<uint4*>(p.tokens), static_cast<uint4*>(p.normed));
    };
    switch (team.held)
    {
    case 3: return held(gatherNorm<kElement, 3>);
    case 4: return held(gatherNorm<kElement, 4>);
    case 6: return held(gatherNorm<kElement, 6>);
    case 12: return held(gatherNorm<kElement, 12>);
    default: break;
    }
    return launch(gatherNormPlain<kElement>, blocks, kThreads, stream, windows, static_cast<Type const*>(p.x),
        static_cast<Type const*>(p.scale), static_cast<Type const*>(p.bias), static_cast<Type*>(p.tokens),
        static_cast<Type*>(p.normed));
}

} // namespace

cudaError_t launchWindowGatherNorm(WindowGatherNormParams const& p, cudaStream_t stream) noexcept
{
    int64_t const limit = (int64_t{1} << 31) - int64_t{kThreads};
    if (p.channels < 1 || p.channels > (int64_t{1} << 30) || p.count < 0 || p.count > limit / p.grid.tokens()
        || (p.indexBytes != 4 && p.indexBytes != 8))
    {
        return cudaErrorInvalidValue;
    }
    if (p.batch == 0 || p.count == 0)
    {
        return cudaSuccess;
    }
    return withElement(p.element, [&](auto type) { return launchAs<decltype(type)::kValue>(p, stream); });
}

} // namespace sparsevit
