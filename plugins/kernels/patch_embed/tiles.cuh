// The embedding on tensor cores, for tokens in half precision or bfloat16: a warp takes 16 patches at a time and holds
// their products up to the answer. Bytes are exact in bfloat16, of 8 bits as they; a weight is the sum of two, which
// together have 16 bits: two products a weight, and an error of 2^-17 of each. It has float's exponents, too, so that
// no weight is too large or too small for it.
//
// The order of a product's sum and of its columns is free. Lane % 4 = t has of each 16 bytes of a patch the word t, as
// it lies in the image; and of each 32 channels the eight from 8 t on, as they lie in a token.
#pragma once

#include "kernels/patch_embed/embedding.cuh"
#include "kernels/warp_matrix.cuh"

namespace sparsevit
{

constexpr int32_t kTileWarps{8};
constexpr int32_t kTileThreads{kTileWarps * kWarpLanes};
constexpr int32_t kTilePatches{16}; //!< of a warp
constexpr int32_t kBlockPatches{kTileWarps * kTilePatches};
constexpr int32_t kWordSteps{kPatchBytes / 16}; //!< products of 16 bytes, a word of each lane

//! The channel in a column (0 to 7) of a tile.
SPARSEVIT_HOST_DEVICE int32_t channelOf(int32_t tile, int32_t column)
{
    return tile / 4 * 32 + column / 2 * 8 + tile % 4 * 2 + column % 2;
}

//! A pair of bfloat16, and what it lacks of the two numbers.
struct SplitPair
{
    uint32_t high;
    uint32_t low;

    __device__ static SplitPair of(float first, float second)
    {
        constexpr Element kPart{Element::kBfloat16};
        uint32_t const high = pairOf<kPart>(first, second);
        float const firstRest = first - toFloat<kPart>(static_cast<uint16_t>(high & 0xffffU));
        float const secondRest = second - toFloat<kPart>(static_cast<uint16_t>(high >> 16));
        return {high, pairOf<kPart>(firstRest, secondRest)};
    }
};

//! The bytes 0 and 1 of a word as bfloat16: the bits of 2^23 + byte say the byte.
__device__ inline uint32_t pairOfBytes(uint32_t word)
{
    float const first = __uint_as_float(0x4b000000U | (word & 0xffU)) - 8388608.0F;
    float const second = __uint_as_float(0x4b000000U | (word >> 8 & 0xffU)) - 8388608.0F;
    return pairOf<Element::kBfloat16>(first, second);
}

//! What a lane has of two patches, lane / 4 of the warp's and the eighth after it.
struct PatchWords
{
    uint32_t words[2][kWordSteps]; //!< 0 in the padding
    uint32_t padding;              //!< a bit a byte, words after each other

    //! \param hasWords Whether a row of the image is of whole words, and so is a patch all image or all padding.
    __device__ static PatchWords read(Embedding const& with, uint32_t first, int32_t lane, bool hasWords)
    {
        PatchWords result{};
#pragma unroll
        for (int32_t half = 0; half < 2; ++half)
        {
            uint32_t const patch = first + static_cast<uint32_t>(lane / 4 + 8 * half);
            auto const corner = with.grid.corner(patch < with.patches ? patch : with.patches - 1);
#pragma unroll
            for (int32_t step = 0; step < kWordSteps; ++step)
            {
                int32_t const word = 4 * step + lane % 4;
                int32_t const row = word / (kPatchRow / 4);
                int32_t const column = word % (kPatchRow / 4) * 4;
                uint8_t const* const from = with.image + corner.byte + row * with.grid.rowBytes() + column;
                uint32_t const shift = static_cast<uint32_t>(half * kWordSteps + step) * 4;
                int64_t const bytes = row < corner.rows ? corner.bytes - column : 0;
                if (hasWords)
                {
                    result.words[half][step] = bytes > 0 ? *reinterpret_cast<uint32_t const*>(from) : 0;
                    result.padding |= (bytes > 0 ? 0U : 15U) << shift;
                    continue;
                }
#pragma unroll
                for (int32_t i = 0; i < 4; ++i)
                {
                    result.words[half][step] |= i < bytes ? uint32_t{from[i]} << (8 * i) : 0;
                    result.padding |= (i < bytes ? 0U : 1U) << (shift + static_cast<uint32_t>(i));
                }
            }
        }
        return result;
    }

    //! The bytes of a step as a warp's 16x16 matrix.
    __device__ void toMatrix(int32_t step, uint32_t (&a)[4]) const
    {
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
            a[i] = pairOfBytes(words[i % 2][step] >> (i / 2 * 16));
        }
    }

    //! What bytes of the padding count as, and 0 for others.
    __device__ SplitPair padded(float const* mean, int32_t step, int32_t lane, int32_t half, int32_t upper) const
    {
        auto const value = [&](int32_t i)
        {
            bool const isPadded = (padding >> ((half * kWordSteps + step) * 4 + i) & 1U) != 0;
            return isPadded ? mean[((4 * step + lane % 4) * 4 + i) % 3] : 0.0F;
        };
        return SplitPair::of(value(2 * upper), value(2 * upper + 1));
    }
};

//! kTiles: of 8 channels, a multiple of 4.
template <Element kElement, int32_t kTiles>
struct EmbedTable
{
    uint4 weights[kWordSteps * kTiles * kWarpLanes]; //!< what a lane has of a tile's: high, high, low, low
    float biases[kTiles * 8];
    float factors[kTiles * 8];
    float terms[kTiles * 8];

    using Type = typename Cell<kElement>::Type;

    //! Every thread of the block.
    __device__ void fill(Embedding const& with, Type const* scale, Type const* shift)
    {
        constexpr int32_t kCount{kWordSteps * kTiles * kWarpLanes};
        constexpr int32_t kPasses{(kCount - 1) / kTileThreads + 1};
        auto const thread = static_cast<int32_t>(threadIdx.x);
        float read[kPasses][4];
#pragma unroll
        for (int32_t pass = 0; pass < kPasses; ++pass)
        {
            int32_t const place = pass * kTileThreads + thread;
            int32_t const lane = place % kWarpLanes;
            int32_t const channel = channelOf(place / kWarpLanes % kTiles, lane / 4);
            int32_t const byte = (place / kWarpLanes / kTiles * 4 + lane % 4) * 4;
#pragma unroll
            for (int32_t i = 0; i < 4; ++i)
            {
                bool const isReal = place < kCount && channel < with.channels;
                read[pass][i] = isReal ? with.weight[(byte + i) * with.channels + channel] : 0.0F;
            }
        }
        static_assert(kTiles * 8 <= kTileThreads); // a channel a thread
        if (thread < kTiles * 8)
        {
            bool const isReal = thread < with.channels;
            biases[thread] = isReal ? with.bias[thread] : 0.0F;
            factors[thread] = isReal ? toFloat<kElement>(scale[thread]) : 0.0F;
            terms[thread] = isReal ? toFloat<kElement>(shift[thread]) : 0.0F;
        }
#pragma unroll
        for (int32_t pass = 0; pass < kPasses; ++pass)
        {
            int32_t const place = pass * kTileThreads + thread;
            if (place < kCount)
            {
                SplitPair const first = SplitPair::of(read[pass][0], read[pass][1]);
                SplitPair const second = SplitPair::of(read[pass][2], read[pass][3]);
                weights[place] = uint4{first.high, second.high, first.low, second.low};
            }
        }
    }

    __device__ uint4 weightsOf(int32_t step, int32_t tile, int32_t lane) const
    {
        return weights[(step * kTiles + tile) * kWarpLanes + lane];
    }
};

//! Eight of a lane's neighbouring channels, from 8 (lane % 4) on of 32.
__device__ inline void readEight(float const* channels, int32_t group, int32_t lane, float (&values)[8])
{
    auto const* const from = reinterpret_cast<float4 const*>(channels + group * 32 + lane % 4 * 8);
    float4 const low = from[0];
    float4 const high = from[1];
    float const all[8]{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int32_t i = 0; i < 8; ++i)
    {
        values[i] = all[i];
    }
}

//! Sum over the four lanes that share a row, in all of them.
__device__ inline float sumOfQuad(float value)
{
    value += __shfl_xor_sync(0xffffffffU, value, 1);
    return value + __shfl_xor_sync(0xffffffffU, value, 2);
}

//! Products of 16 patches with the matrix, and its bias.
template <Element kElement, int32_t kTiles>
__device__ __forceinline__ void multiply(EmbedTable<kElement, kTiles> const& table, Embedding const& with,
    PatchWords const& patches, int32_t lane, float (&sums)[kTiles][4])
{
    constexpr Element kPart{Element::kBfloat16};
#pragma unroll
    for (int32_t group = 0; group < kTiles / 4; ++group)
    {
        float biases[8];
        readEight(table.biases, group, lane, biases);
#pragma unroll
        for (int32_t i = 0; i < 16; ++i)
        {
            sums[group * 4 + i / 4][i % 4] = biases[i / 4 * 2 + i % 2];
        }
    }
#pragma unroll
    for (int32_t step = 0; step < kWordSteps; ++step)
    {
        uint32_t bytes[4];
        patches.toMatrix(step, bytes);
#pragma unroll
        for (int32_t tile = 0; tile < kTiles; ++tile)
        {
            uint4 const weights = table.weightsOf(step, tile, lane);
            multiplyAdd<kPart>(sums[tile], bytes, weights.x, weights.y);
            multiplyAdd<kPart>(sums[tile], bytes, weights.z, weights.w);
        }
    }
    if (!__any_sync(0xffffffffU, patches.padding != 0))
    {
        return;
    }
#pragma unroll 1
    for (int32_t step = 0; step < kWordSteps; ++step)
    {
        uint32_t high[4];
        uint32_t low[4];
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
            SplitPair const pair = patches.padded(with.mean, step, lane, i % 2, i / 2);
            high[i] = pair.high;
            low[i] = pair.low;
        }
#pragma unroll
        for (int32_t tile = 0; tile < kTiles; ++tile)
        {
            uint4 const weights = table.weightsOf(step, tile, lane);
            multiplyAdd<kPart>(sums[tile], high, weights.x, weights.y);
            multiplyAdd<kPart>(sums[tile], high, weights.z, weights.w);
            multiplyAdd<kPart>(sums[tile], low, weights.x, weights.y);
        }
    }
}

//! Writes the LayerNorm of 16 patches from `first`. Channels that there are not have products of 0.
template <Element kElement, int32_t kTiles>
__device__ __forceinline__ void writeNormed(EmbedTable<kElement, kTiles> const& table, Embedding const& with,
    float (&sums)[kTiles][4], uint32_t first, int32_t lane, uint4* tokens)
{
    constexpr int32_t kGroups{kTiles / 4};
    float inverses[2];
#pragma unroll
    for (int32_t half = 0; half < 2; ++half)
    {
        float sum = 0.0F;
#pragma unroll
        for (int32_t tile = 0; tile < kTiles; ++tile)
        {
            sum += sums[tile][2 * half] + sums[tile][2 * half + 1];
        }
        float const meanOfAll = sumOfQuad(sum) * with.share;
        float squares = 0.0F;
#pragma unroll
        for (int32_t tile = 0; tile < kTiles; ++tile)
        {
            float const mean = tile / 4 * 32 + lane % 4 * 8 < with.channels ? meanOfAll : 0.0F;
#pragma unroll
            for (int32_t i = 2 * half; i < 2 * half + 2; ++i)
            {
                sums[tile][i] -= mean;
                squares += sums[tile][i] * sums[tile][i];
            }
        }
        inverses[half] = rsqrtf(sumOfQuad(squares) * with.share + with.epsilon);
    }
#pragma unroll
    for (int32_t group = 0; group < kGroups; ++group)
    {
        int32_t const channel = group * 32 + lane % 4 * 8;
        float factors[8];
        float terms[8];
        readEight(table.factors, group, lane, factors);
        readEight(table.terms, group, lane, terms);
#pragma unroll
        for (int32_t half = 0; half < 2; ++half)
        {
            uint32_t const patch = first + static_cast<uint32_t>(lane / 4 + 8 * half);
            float values[8];
#pragma unroll
            for (int32_t i = 0; i < 8; ++i)
            {
                float const deviation = sums[group * 4 + i / 2][2 * half + i % 2];
                values[i] = deviation * inverses[half] * factors[i] + terms[i];
            }
            uint4 vector;
            pack<kElement>(values, vector);
            if (patch < with.patches && channel < with.channels)
            {
                tokens[(int64_t{patch} * with.channels + channel) / 8] = vector;
            }
        }
    }
}

//! Up to kTiles * 8 channels, a multiple of 8. A block reads the matrix once for `turns` times kBlockPatches patches.
template <Element kElement, int32_t kTiles>
__global__ void __launch_bounds__(kTileThreads, kTiles <= 16 ? 2 : 1) embedTiles(Embedding with, int32_t turns,
    bool hasWords, typename Cell<kElement>::Type const* __restrict__ scale,
    typename Cell<kElement>::Type const* __restrict__ shift, uint4* __restrict__ tokens)
{
    __shared__ EmbedTable<kElement, kTiles> table;
    int32_t const lane = static_cast<int32_t>(threadIdx.x) % kWarpLanes;
    uint32_t first = blockIdx.x * static_cast<uint32_t>(turns * kBlockPatches)
        + threadIdx.x / kWarpLanes * static_cast<uint32_t>(kTilePatches);
    PatchWords patches = PatchWords::read(with, first, lane, hasWords);
    table.fill(with, scale, shift); // while the pixels are under way
    __syncthreads();
    for (int32_t turn = 1; first < with.patches; ++turn)
    {
        float sums[kTiles][4];
        multiply(table, with, patches, lane, sums);
        writeNormed(table, with, sums, first, lane, tokens);
        if (turn >= turns)
        {
            break;
        }
        first += static_cast<uint32_t>(kBlockPatches);
        patches = PatchWords::read(with, first, lane, hasWords);
    }
}

} // namespace sparsevit
