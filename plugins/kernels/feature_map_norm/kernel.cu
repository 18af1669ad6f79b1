#include "kernels/feature_map_norm/kernel.h"

#include "kernels/feature_map_norm/tile.h"
#include "kernels/row_norm.cuh"

namespace sparsevit
{
namespace
{

constexpr int32_t kThreads{MapTile::kThreads};
constexpr int32_t kWarp{32};
constexpr int32_t kMostTokens{32}; //!< of a block

//! What all threads are given.
struct Maps
{
    int64_t batch;
    int64_t tokens; //!< of a map
    int32_t channels;
    int32_t words; //!< of a token
    MapTile tile;
    Divisor byWords;
    float epsilon;
};

//! The elements of a word of memory.
template <Element kElement>
__device__ void unpackWord(uint32_t word, float (&values)[Lanes<kElement, uint32_t>::kCount])
{
    if constexpr (kElement == Element::kFloat)
    {
        values[0] = __uint_as_float(word);
    }
    else
    {
        values[0] = toFloat<kElement>(static_cast<uint16_t>(word & 0xffffU));
        values[1] = toFloat<kElement>(static_cast<uint16_t>(word >> 16));
    }
}

//! Reads some tokens into rows of shared memory, in the order in which they lie.
__device__ void readTokens(Maps const& maps, uint32_t const* __restrict__ from, int32_t count, uint32_t* rows)
{
    constexpr int32_t kAtOnce{8};
    auto const total = static_cast<uint32_t>(count * maps.words);
    for (uint32_t first = threadIdx.x; first < total; first += kAtOnce * kThreads)
    {
        uint32_t read[kAtOnce];
#pragma unroll
        for (int32_t i = 0; i < kAtOnce; ++i)
        {
            uint32_t const at = first + static_cast<uint32_t>(i * kThreads);
            read[i] = at < total ? from[at] : 0U;
        }
#pragma unroll
        for (int32_t i = 0; i < kAtOnce; ++i)
        {
            uint32_t word = first + static_cast<uint32_t>(i * kThreads);
            if (word < total)
            {
                uint32_t const token = maps.byWords.split(word);
                rows[token * static_cast<uint32_t>(maps.tile.stride) + word] = read[i];
            }
        }
    }
}

//! Of a token's row in shared memory.
template <Element kElement>
__device__ Moments momentsOfWords(RowTeam const& team, uint32_t const* row)
{
    constexpr int32_t kElements{Lanes<kElement, uint32_t>::kCount};
    float sum = 0.0F;
    for (int32_t i = team.member; i < team.lanes; i += team.threads)
    {
        float values[kElements];
        unpackWord<kElement>(row[i], values);
        for (float const value : values)
        {
            sum += value;
        }
    }
    float const mean = team.sum(sum) / team.channels;
    float squares = 0.0F;
    for (int32_t i = team.member; i < team.lanes; i += team.threads)
    {
        float values[kElements];
        unpackWord<kElement>(row[i], values);
        for (float const value : values)
        {
            squares += (value - mean) * (value - mean);
        }
    }
    return {mean, 1.0F / sqrtf(team.sum(squares) / team.channels + team.epsilon)};
}

template <Element kElement, Element kOutput>
__global__ void __launch_bounds__(kThreads)
    mapNorm(Maps maps, uint32_t const* __restrict__ x, uint32_t const* __restrict__ scale,
        uint32_t const* __restrict__ shift, typename Cell<kOutput>::Type* __restrict__ y)
{
    constexpr int32_t kElements{Lanes<kElement, uint32_t>::kCount};
    SPARSEVIT_SHARED_MEMORY(memory);
    __shared__ Moments momentsOfTokens[kMostTokens];
    auto* const rows = reinterpret_cast<uint32_t*>(memory);
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int32_t const tile = maps.tile.tokens;
    int32_t const groups = kThreads / tile; // as many threads take a token, then as many words are taken at once
    int64_t const first = int64_t{blockIdx.x} * tile;
    auto const count = static_cast<int32_t>(maps.tokens - first < tile ? maps.tokens - first : tile);
    int32_t const own = thread % tile;
    for (int64_t sample = blockIdx.y; sample < maps.batch; sample += gridDim.y)
    {
        readTokens(maps, x + (sample * maps.tokens + first) * maps.words, count, rows);
        __syncthreads();
        int32_t const token = thread / groups;
        RowTeam const team{groups, thread % groups, token < count ? maps.words : 0, static_cast<float>(maps.channels),
            maps.epsilon};
        Moments const found = momentsOfWords<kElement>(team, rows + token * maps.tile.stride);
        if (team.member == 0)
        {
            momentsOfTokens[token] = found;
        }
        __syncthreads();
        if (own < count)
        {
            Moments const moments = momentsOfTokens[own];
            uint32_t const* const row = rows + own * maps.tile.stride;
            auto* const to = y + sample * maps.channels * maps.tokens + first + own;
#pragma unroll 2
            for (int32_t word = thread / tile; word < maps.words; word += groups)
            {
                float values[kElements];
                float factors[kElements];
                float terms[kElements];
                unpackWord<kElement>(row[word], values);
                unpackWord<kElement>(scale[word], factors);
                unpackWord<kElement>(shift[word], terms);
#pragma unroll
                for (int32_t i = 0; i < kElements; ++i)
                {
                    to[(int64_t{word} * kElements + i) * maps.tokens] =
                        fromFloat<kOutput>(normalised(values[i], moments, factors[i], terms[i]));
                }
            }
        }
        __syncthreads(); // before the next sample's tokens are read
    }
}

//! Element by element, from the map itself: any address, any number of channels.
template <Element kElement, Element kOutput>
__global__ void __launch_bounds__(kThreads)
    mapNormPlain(Maps maps, typename Cell<kElement>::Type const* __restrict__ x,
        typename Cell<kElement>::Type const* __restrict__ scale,
        typename Cell<kElement>::Type const* __restrict__ shift, typename Cell<kOutput>::Type* __restrict__ y)
{
    __shared__ Moments momentsOfTokens[kMostTokens];
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int64_t const first = int64_t{blockIdx.x} * kMostTokens;
    int64_t const left = maps.tokens - first;
    auto const count = static_cast<int32_t>(left < kMostTokens ? left : kMostTokens);
    int32_t const own = thread % kMostTokens;
    RowTeam const team{
        kWarp, thread % kWarp, maps.channels, static_cast<float>(maps.channels), maps.epsilon};
    for (int64_t sample = blockIdx.y; sample < maps.batch; sample += gridDim.y)
    {
        auto const* const from = x + (sample * maps.tokens + first) * maps.channels;
        for (int32_t token = thread / kWarp; token < count; token += kThreads / kWarp)
        {
            auto const* const row = from + int64_t{token} * maps.channels;
            Moments const found = momentsOf(team, [&](int32_t i) { return toFloat<kElement>(row[i]); });
            if (team.member == 0)
            {
                momentsOfTokens[token] = found;
            }
        }
        __syncthreads();
        if (own < count)
        {
            Moments const moments = momentsOfTokens[own];
            auto* const to = y + sample * maps.channels * maps.tokens + first + own;
            for (int32_t channel = thread / kMostTokens; channel < maps.channels; channel += kThreads / kMostTokens)
            {
                float const value = toFloat<kElement>(from[int64_t{own} * maps.channels + channel]);
                to[channel * maps.tokens] = fromFloat<kOutput>(normalised(
                    value, moments, toFloat<kElement>(scale[channel]), toFloat<kElement>(shift[channel])));
            }
        }
        __syncthreads();
    }
}

template <Element kElement, Element kOutput>
cudaError_t launchAs(FeatureMapNormParams const& p, cudaStream_t stream)
{
    using Type = typename Cell<kElement>::Type;
    using Out = typename Cell<kOutput>::Type;
    int64_t const tokenBytes = p.channels * static_cast<int64_t>(sizeof(Type));
    bool const isAligned = vectorBytes(tokenBytes, {p.x, p.scale, p.shift}) >= 4;
    Maps maps{};
    maps.batch = p.batch;
    maps.tokens = p.tokens;
    maps.channels = static_cast<int32_t>(p.channels);
    maps.words = static_cast<int32_t>(tokenBytes / 4);
    maps.epsilon = p.epsilon;
    maps.tile = isAligned ? mapTile(tokenBytes / 4, p.tokens * p.batch) : MapTile{0, 0};
    int64_t const perBlock = maps.tile.tokens == 0 ? kMostTokens : maps.tile.tokens;
    dim3 const blocks{static_cast<unsigned int>((p.tokens + perBlock - 1) / perBlock), sampleBlocks(p.batch)};
    if (maps.tile.tokens == 0)
    {
        return launch(mapNormPlain<kElement, kOutput>, blocks, kThreads, stream, maps, static_cast<Type const*>(p.x),
            static_cast<Type const*>(p.scale), static_cast<Type const*>(p.shift), static_cast<Out*>(p.y));
    }
    maps.byWords = Divisor{static_cast<uint32_t>(maps.words)};
    Launch const shape{blocks, kThreads, static_cast<size_t>(maps.tile.bytes())};
    return launch(shape, mapNorm<kElement, kOutput>, stream, maps, static_cast<uint32_t const*>(p.x),
        static_cast<uint32_t const*>(p.scale), static_cast<uint32_t const*>(p.shift), static_cast<Out*>(p.y));
}

} // namespace

cudaError_t launchFeatureMapNorm(FeatureMapNormParams const& p, cudaStream_t stream) noexcept
{
    int64_t const most = int64_t{1} << 30;
    if (p.batch < 0 || p.batch > most || p.tokens < 1 || p.tokens > most || p.channels < 1 || p.channels > most
        || (p.output != p.element && p.output != Element::kFloat))
    {
        return cudaErrorInvalidValue;
    }
    if (p.batch == 0)
    {
        return cudaSuccess;
    }
    return withElement(p.element,
        [&](auto type)
        {
            constexpr Element kElement = decltype(type)::kValue;
            return p.output == kElement ? launchAs<kElement, kElement>(p, stream)
                                        : launchAs<kElement, Element::kFloat>(p, stream);
        });
}

} // namespace sparsevit
