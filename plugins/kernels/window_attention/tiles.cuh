// Attention on tensor cores: a block takes a head of a window, a warp 16 of its rows at a time. q, k and v are read
// once into shared memory, with their bias; scores and probabilities stay where the products leave them, because what c
// holds of two neighbouring tiles is what a has to hold for the next product. Longer windows are taken `kKeys` keys at
// a time: earlier sums are scaled whenever a larger score turns up.
#pragma once

#include "kernels/window_attention/tile_rows.cuh"

namespace sparsevit
{

//! Where a lane stands in the products of its warp (warp_matrix.cuh): its row, and that plus 8; its column and the
//! next.
struct LanePlace
{
    int32_t lane;
    int32_t row;
    int32_t column;

    __device__ static LanePlace own()
    {
        auto const lane = static_cast<int32_t>(threadIdx.x % uint32_t{kWarpLanes});
        return {lane, lane / 4, lane % 4 * 2};
    }
};

//! What a warp has found out of 16 rows: their largest scores so far, and sums of exponentials and of weighted values
//! relative to these. `total` is of the lane's own columns.
template <int32_t kHeadDim>
struct RowSums
{
    float values[kHeadDim / 8][4]{};
    float most[2]{-INFINITY, -INFINITY};
    float total[2]{};
};

//! Scores of 16 rows from `top` and kKeyTiles * 8 keys from `first`: position bias, to which the products are added.
//! Keys that there are not have minus infinity.
template <Element kElement, int32_t kHeadDim, int32_t kTokens, int32_t kKeyTiles>
__device__ __forceinline__ void findScores(BiasPairs<kElement, kTokens> const& bias, uint4 const* k,
    uint32_t const (&queries)[kHeadDim / 16][4], LanePlace at, int32_t top, int32_t first, int32_t tokens,
    float (&scores)[kKeyTiles][4])
{
    using Rows = HeadRows<kHeadDim>;
#pragma unroll
    for (int32_t tile = 0; tile < kKeyTiles; ++tile)
    {
        int32_t const column = first + tile * 8 + at.column;
#pragma unroll
        for (int32_t half = 0; half < 2; ++half)
        {
            int32_t const row = top + at.row + half * 8;
            uint32_t const both = row < tokens && column < tokens ? bias.at(row, column, tokens) : 0;
            scores[tile][2 * half] =
                column < tokens ? toFloat<kElement>(static_cast<uint16_t>(both & 0xffffU)) : -INFINITY;
            scores[tile][2 * half + 1] =
                column + 1 < tokens ? toFloat<kElement>(static_cast<uint16_t>(both >> 16)) : -INFINITY;
        }
    }
#pragma unroll
    for (int32_t tile = 0; tile < kKeyTiles; tile += 2)
    {
        if (first + tile * 8 < wholeTiles(tokens))
        {
            int32_t const key = first + tile * 8 + at.lane % 8 + at.lane / 16 * 8;
#pragma unroll
            for (int32_t step = 0; step < kHeadDim / 16; ++step)
            {
                uint32_t keys[4];
                loadMatrices(keys, k + Rows::place(key, step * 2 + at.lane / 8 % 2));
                multiplyAdd<kElement>(scores[tile], queries[step], keys[0], keys[1]);
                multiplyAdd<kElement>(scores[tile + 1], queries[step], keys[2], keys[3]);
            }
        }
    }
}

//! Turns scores into exponentials relative to the largest, and what was summed before into the same.
template <int32_t kHeadDim, int32_t kKeyTiles>
__device__ __forceinline__ void exponentiate(float (&scores)[kKeyTiles][4], RowSums<kHeadDim>& sums, bool isFirst)
{
#pragma unroll
    for (int32_t half = 0; half < 2; ++half)
    {
        float largest = sums.most[half];
#pragma unroll
        for (int32_t tile = 0; tile < kKeyTiles; ++tile)
        {
            largest = fmaxf(largest, fmaxf(scores[tile][2 * half], scores[tile][2 * half + 1]));
        }
        // Four lanes share a row.
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffU, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffU, largest, 2));
        float const base = finiteOr0(largest) * kLog2OfE;
        if (!isFirst)
        {
            float const scale = powerOf2(sums.most[half] * kLog2OfE - base);
            sums.total[half] *= scale;
#pragma unroll
            for (int32_t tile = 0; tile < kHeadDim / 8; ++tile)
            {
                sums.values[tile][2 * half] *= scale;
                sums.values[tile][2 * half + 1] *= scale;
            }
        }
        sums.most[half] = largest;
#pragma unroll
        for (int32_t tile = 0; tile < kKeyTiles; ++tile)
        {
#pragma unroll
            for (int32_t i = 2 * half; i < 2 * half + 2; ++i)
            {
                scores[tile][i] = powerOf2(scores[tile][i] * kLog2OfE - base);
                sums.total[half] += scores[tile][i];
            }
        }
    }
}

//! Adds the values of the keys from `first`, weighted. Tiles go in pairs; the last may be alone.
template <Element kElement, int32_t kHeadDim, int32_t kKeyTiles>
__device__ __forceinline__ void addValues(uint4 const* v, float const (&weights)[kKeyTiles][4], LanePlace at,
    int32_t first, int32_t rows, RowSums<kHeadDim>& sums)
{
    using Rows = HeadRows<kHeadDim>;
#pragma unroll
    for (int32_t tile = 0; tile < kKeyTiles; tile += 2)
    {
        if (first + tile * 8 < rows)
        {
            bool const hasNext = tile + 1 < kKeyTiles;
            int32_t const next = hasNext ? tile + 1 : tile;
            uint32_t const pairs[4]{pairOf<kElement>(weights[tile][0], weights[tile][1]),
                pairOf<kElement>(weights[tile][2], weights[tile][3]),
                hasNext ? pairOf<kElement>(weights[next][0], weights[next][1]) : 0,
                hasNext ? pairOf<kElement>(weights[next][2], weights[next][3]) : 0};
            int32_t const key = first + tile * 8 + at.lane % 16;
#pragma unroll
            for (int32_t step = 0; step < kHeadDim / 16; ++step)
            {
                uint32_t values[4];
                loadTransposed(values, v + Rows::place(key, step * 2 + at.lane / 16));
                multiplyAdd<kElement>(sums.values[2 * step], pairs, values[0], values[1]);
                multiplyAdd<kElement>(sums.values[2 * step + 1], pairs, values[2], values[3]);
            }
        }
    }
}

//! Writes the answers of 16 rows from `top`, by way of the warp's own rows of q, which it has read: whole rows of a
//! head leave together.
template <Element kElement, int32_t kHeadDim>
__device__ __forceinline__ void writeRows(
    RowSums<kHeadDim> const& sums, uint4* q, LanePlace at, int32_t top, int32_t count, uint4* output, int64_t pitch)
{
    using Rows = HeadRows<kHeadDim>;
    __syncwarp();
#pragma unroll
    for (int32_t half = 0; half < 2; ++half)
    {
        float total = sums.total[half];
        total += __shfl_xor_sync(0xffffffffU, total, 1);
        total += __shfl_xor_sync(0xffffffffU, total, 2);
        float const share = inverseOf(total);
#pragma unroll
        for (int32_t tile = 0; tile < kHeadDim / 8; ++tile)
        {
            auto* const words = reinterpret_cast<uint32_t*>(q + Rows::place(top + at.row + half * 8, tile));
            words[at.column / 2] =
                pairOf<kElement>(sums.values[tile][2 * half] * share, sums.values[tile][2 * half + 1] * share);
        }
    }
    __syncwarp();
#pragma unroll
    for (int32_t pass = 0; pass < 16 * Rows::kVectors / kWarpLanes; ++pass)
    {
        int32_t const i = pass * kWarpLanes + at.lane;
        int32_t const row = top + i / Rows::kVectors;
        int32_t const vector = i % Rows::kVectors;
        if (row < count)
        {
            output[row * pitch + vector] = q[Rows::place(row, vector)];
        }
    }
}

template <Element kElement, int32_t kHeadDim, int32_t kTokens>
__global__ void __launch_bounds__(TileShape<kTokens>::kThreads) attendTiles(AttentionArrays<kElement> arrays)
{
    using Rows = HeadRows<kHeadDim>;
    using Shape = TileShape<kTokens>;
    SPARSEVIT_SHARED_MEMORY(shared);
    int32_t const tokens = Shape::kIsKnown ? kTokens : arrays.tokens;
    int32_t const rows = wholeTiles(tokens);
    uint4* const q = shared;
    uint4 const* const k = q + rows * Rows::kVectors;
    uint4 const* const v = k + rows * Rows::kVectors;
    uint32_t part = blockIdx.x; // heads of a window follow each other: their rows are neighbours in memory
    int64_t const position = arrays.byHeads.split(part);
    auto const head = static_cast<int32_t>(part);
    BiasPairs<kElement, kTokens> const bias{arrays.biasOf(position, head)};
    loadHead<kElement, kHeadDim, kTokens>(arrays, position, head, tokens, rows, shared);
    __syncthreads();
    LanePlace const at = LanePlace::own();
    int64_t const pitch = arrays.channels / 8;
    auto* const output = reinterpret_cast<uint4*>(arrays.output) + position * tokens * pitch + head * Rows::kVectors;
    for (int32_t top = static_cast<int32_t>(threadIdx.x) / kWarpLanes * 16; top < rows; top += Shape::kWarps * 16)
    {
        uint32_t queries[kHeadDim / 16][4];
#pragma unroll
        for (int32_t step = 0; step < kHeadDim / 16; ++step)
        {
            loadMatrices(queries[step], q + Rows::place(top + at.lane % 16, step * 2 + at.lane / 16));
        }
        RowSums<kHeadDim> sums;
#pragma unroll 1
        for (int32_t first = 0; first < rows; first += Shape::kKeys)
        {
            float scores[Shape::kKeys / 8][4];
            findScores<kElement, kHeadDim, kTokens>(bias, k, queries, at, top, first, tokens, scores);
            exponentiate<kHeadDim>(scores, sums, false);
            addValues<kElement, kHeadDim>(v, scores, at, first, rows, sums);
        }
        writeRows<kElement, kHeadDim>(sums, q, at, top, tokens, output, pitch);
    }
}

} // namespace sparsevit
