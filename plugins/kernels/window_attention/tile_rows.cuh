// How q, k, v and the position bias of a head come to a block's threads: q, k and v read once, with their bias added,
// into shared memory.
#pragma once

#include "kernels/warp_matrix.cuh"
#include "kernels/window_attention/arrays.cuh"
#include "kernels/window_attention/layout.h"

namespace sparsevit
{

//! kTokens: 144; 0 where they are known at launch only.
template <int32_t kTokens>
struct TileShape
{
    static constexpr bool kIsKnown{kTokens != 0};
    static constexpr int32_t kWarps{kTokens == 144 ? 9 : 4};
    static constexpr int32_t kThreads{kWarps * kWarpLanes};
    static constexpr int32_t kKeys{kTokens == 144 ? 48 : 64}; //!< scores of a row in registers, of four lanes
    SPARSEVIT_HOST_DEVICE static constexpr int32_t sharedBytes(int32_t tokens, int32_t headDim)
    {
        return 3 * wholeTiles(tokens) * headDim * 2;
    }
};

//! Reads q, k and v of a head into shared memory, adds their bias, and fills them up with rows of zeros.
template <Element kElement, int32_t kHeadDim, int32_t kTokens>
__device__ void loadHead(AttentionArrays<kElement> const& arrays, int64_t position, int32_t head, int32_t tokens,
    int32_t rows, uint4* shared)
{
    using Rows = HeadRows<kHeadDim>;
    using Shape = TileShape<kTokens>;
    constexpr int32_t kRowsPerPass{Shape::kThreads / Rows::kVectors};
    // All loads of a window that the compiler knows are under way before the first is used.
    constexpr int32_t kPasses{Shape::kIsKnown ? (wholeTiles(kTokens) + kRowsPerPass - 1) / kRowsPerPass : 1};
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int32_t const vector = thread % Rows::kVectors;
    auto const perPart = arrays.channels / 8;
    int64_t const column = int64_t{head} * Rows::kVectors + vector;
    auto const* const source = reinterpret_cast<uint4 const*>(arrays.qkv) + position * tokens * 3 * perPart + column;
    auto const* const bias = reinterpret_cast<uint4 const*>(arrays.qkvBias) + column;
    uint4 const shift[3]{bias[0], bias[perPart], bias[2 * perPart]};
    for (int32_t first = thread / Rows::kVectors; first < rows; first += kPasses * kRowsPerPass)
    {
        uint4 read[kPasses][3];
#pragma unroll
        for (int32_t i = 0; i < kPasses; ++i)
        {
            int32_t const row = first + i * kRowsPerPass;
#pragma unroll
            for (int32_t part = 0; part < 3; ++part)
            {
                read[i][part] = uint4{};
                if (row < tokens)
                {
                    read[i][part] = source[(int64_t{3} * row + part) * perPart];
                }
            }
        }
#pragma unroll
        for (int32_t i = 0; i < kPasses; ++i)
        {
            int32_t const row = first + i * kRowsPerPass;
#pragma unroll
            for (int32_t part = 0; part < 3; ++part)
            {
                if (row < rows)
                {
                    uint4 const value = read[i][part];
                    uint4 const by = shift[part];
                    shared[part * rows * Rows::kVectors + Rows::place(row, vector)] = row < tokens
                        ? uint4{addPairs<kElement>(value.x, by.x), addPairs<kElement>(value.y, by.y),
                              addPairs<kElement>(value.z, by.z), addPairs<kElement>(value.w, by.w)}
                        : value;
                }
            }
        }
    }
}

//! Position biases as rows of two neighbours.
template <Element kElement, int32_t kTokens>
struct BiasPairs
{
    using Type = typename Cell<kElement>::Type;

    Type const* source; //!< (t, t)

    //! Of an even column and the next; whatever, past the last column.
    __device__ uint32_t at(int32_t row, int32_t column, int32_t tokens) const
    {
        if constexpr (TileShape<kTokens>::kIsKnown)
        {
            return *reinterpret_cast<uint32_t const*>(source + row * kTokens + column);
        }
        else
        {
            Type const* const at = source + int64_t{row} * tokens + column;
            uint32_t const low = column < tokens ? at[0] : 0;
            return column + 1 < tokens ? low | uint32_t{at[1]} << 16 : low;
        }
    }
};

} // namespace sparsevit
