// Attention in float by ordinary arithmetic: any number of tokens, any head dimension, any alignment. A block takes 64
// rows of a head and 16, 32 or 64 of its output's channels; it goes through the keys 64 at a time. Each thread has 4x4
// scores, of four neighbouring rows and keys: q and k lie by channel, so that a thread reads four of each at once for
// 16 products. Head dimensions above 64 compute the scores anew for every 64 channels.
#pragma once

#include "kernels/window_attention/arrays.cuh"

namespace sparsevit
{

constexpr int32_t kPlainTile{64};     //!< rows and keys
constexpr int32_t kPlainDepth{16};    //!< channels of q and k in shared memory at once
constexpr int32_t kPlainPitch{17};    //!< float4 of a channel's 64 rows, one to spare: the next is on other banks
constexpr int32_t kPlainThreads{256}; //!< 16 x 16

//! How the work is cut: heads of windows, tiles of rows, groups of channels, the last of them innermost.
struct PlainWork
{
    Divisor byRowTiles;
    Divisor byChannelGroups;
    int32_t headDim;
};

//! 4x4 neighbours: c[i][j] += a[i] * b[j].
__device__ inline void addProducts(float (&c)[4][4], float4 a, float4 b)
{
    float const left[4]{a.x, a.y, a.z, a.w};
    float const right[4]{b.x, b.y, b.z, b.w};
#pragma unroll
    for (int32_t i = 0; i < 4; ++i)
    {
#pragma unroll
        for (int32_t j = 0; j < 4; ++j)
        {
            c[i][j] += left[i] * right[j];
        }
    }
}

//! kChannels: of the output, per thread.
template <Element kElement, int32_t kChannels>
__global__ void __launch_bounds__(kPlainThreads, 2) attendPlain(AttentionArrays<kElement> arrays, PlainWork works)
{
    constexpr int32_t kGroup{16 * kChannels};
    __shared__ float4 queries[kPlainDepth][kPlainPitch];
    __shared__ float4 keys[kPlainDepth][kPlainPitch];
    __shared__ float4 probabilities[kPlainTile][kPlainPitch]; // by key
    __shared__ float values[kPlainTile][kGroup];
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int32_t const right = thread % 16;
    int32_t const down = thread / 16;
    int32_t const tokens = arrays.tokens;
    uint32_t channelGroup = blockIdx.x;
    uint32_t rowTile = works.byChannelGroups.split(channelGroup);
    uint32_t head = works.byRowTiles.split(rowTile);
    int64_t const position = arrays.byHeads.split(head);
    auto const group = static_cast<int32_t>(channelGroup) * kGroup;
    auto const top = static_cast<int32_t>(rowTile) * kPlainTile;
    int64_t const column = int64_t{head} * works.headDim;
    auto const* const bias = arrays.biasOf(position, static_cast<int32_t>(head));
    //! q (part 0), k or v with its bias, rounded as the sum of two tensors is; 0 past the end.
    auto const element = [&](int32_t part, int32_t row, int32_t channel)
    {
        if (row >= tokens || channel >= works.headDim)
        {
            return 0.0F;
        }
        int64_t const at = part * arrays.channels + column + channel;
        float const sum = toFloat<kElement>(arrays.qkv[(position * tokens + row) * 3 * arrays.channels + at])
            + toFloat<kElement>(arrays.qkvBias[at]);
        return toFloat<kElement>(fromFloat<kElement>(sum));
    };
    float sums[4][kChannels]{};
    float most[4]{-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    float total[4]{};
    for (int32_t first = 0; first < tokens; first += kPlainTile)
    {
        float scores[4][4];
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
#pragma unroll
            for (int32_t j = 0; j < 4; ++j)
            {
                int32_t const row = top + 4 * down + i;
                int32_t const key = first + 4 * right + j;
                scores[i][j] = key >= tokens ? -INFINITY
                    : row < tokens           ? toFloat<kElement>(bias[int64_t{row} * tokens + key])
                                             : 0.0F;
            }
        }
        for (int32_t deep = 0; deep < works.headDim; deep += kPlainDepth)
        {
            __syncthreads();
#pragma unroll
            for (int32_t i = 0; i < kPlainTile / 16; ++i)
            {
                int32_t const row = down + 16 * i;
                reinterpret_cast<float*>(queries[right])[row] = element(0, top + row, deep + right);
                reinterpret_cast<float*>(keys[right])[row] = element(1, first + row, deep + right);
            }
            __syncthreads();
#pragma unroll
            for (int32_t i = 0; i < kPlainDepth; ++i)
            {
                addProducts(scores, queries[i][down], keys[i][right]);
            }
        }
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
            float largest = most[i];
#pragma unroll
            for (int32_t j = 0; j < 4; ++j)
            {
                largest = fmaxf(largest, scores[i][j]);
            }
            for (int32_t apart = 8; apart > 0; apart /= 2)
            {
                largest = fmaxf(largest, __shfl_xor_sync(0xffffffffU, largest, apart));
            }
            float const base = finiteOr0(largest) * kLog2OfE;
            float const scale = exp2f(most[i] * kLog2OfE - base);
            most[i] = largest;
            total[i] *= scale;
#pragma unroll
            for (int32_t j = 0; j < kChannels; ++j)
            {
                sums[i][j] *= scale;
            }
#pragma unroll
            for (int32_t j = 0; j < 4; ++j)
            {
                scores[i][j] = exp2f(scores[i][j] * kLog2OfE - base);
                total[i] += scores[i][j];
            }
        }
        // The products before this were behind a barrier: nobody reads the last piece's any more.
#pragma unroll
        for (int32_t j = 0; j < 4; ++j)
        {
            probabilities[4 * right + j][down] = float4{scores[0][j], scores[1][j], scores[2][j], scores[3][j]};
        }
        for (int32_t i = thread; i < kPlainTile * kGroup; i += kPlainThreads)
        {
            values[i / kGroup][i % kGroup] = element(2, first + i / kGroup, group + i % kGroup);
        }
        __syncthreads();
        int32_t const end = tokens - first < kPlainTile ? tokens - first : kPlainTile;
#pragma unroll 4
        for (int32_t key = 0; key < end; ++key)
        {
            float4 const p = probabilities[key][down];
            float const weights[4]{p.x, p.y, p.z, p.w};
#pragma unroll
            for (int32_t j = 0; j < kChannels; ++j)
            {
                float const value = values[key][right + 16 * j];
#pragma unroll
                for (int32_t i = 0; i < 4; ++i)
                {
                    sums[i][j] += weights[i] * value;
                }
            }
        }
    }
#pragma unroll
    for (int32_t i = 0; i < 4; ++i)
    {
        for (int32_t apart = 8; apart > 0; apart /= 2)
        {
            total[i] += __shfl_xor_sync(0xffffffffU, total[i], apart);
        }
        int32_t const row = top + 4 * down + i;
#pragma unroll
        for (int32_t j = 0; j < kChannels; ++j)
        {
            int32_t const channel = group + right + 16 * j;
            if (row < tokens && channel < works.headDim)
            {
                arrays.output[(position * tokens + row) * arrays.channels + column + channel] =
                    fromFloat<kElement>(sums[i][j] / total[i]);
            }
        }
    }
}

} // namespace sparsevit
