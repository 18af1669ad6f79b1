// Attention of windows whose keys are one piece, 7x7 and 8x8, on tensor cores: a block takes a head of a window, a warp
// 16 of its rows. The order in which a product's sum is taken is free, if it is the same in both factors: lane % 4 = t
// has of each 32 channels the eight from 8 t on, 16 bytes of a row as it lies in memory. So queries and keys go from
// there into the products' registers, the keys by every warp, of which all but the first find them in the first-level
// cache. Values, which a product needs by column, and the position bias go through shared memory, and are not waited
// for before the scores are there.
#pragma once

#include "kernels/async_copy.cuh"
#include "kernels/window_attention/tiles.cuh"

namespace sparsevit
{

//! kTokens: 49 or 64.
template <int32_t kTokens, int32_t kHeadDim>
struct WholeShape
{
    static_assert(kTokens > 48 && kTokens <= 64);
    static constexpr int32_t kWarps{4};
    static constexpr int32_t kThreads{kWarps * kWarpLanes};
    static constexpr int32_t kRows{16 * kWarps};
    static constexpr int32_t kKeyTiles{(kTokens + 7) / 8};
    static constexpr int32_t kWords{kHeadDim / 8}; //!< of a row, that a lane has
    static constexpr int32_t kVectors{kRows * HeadRows<kHeadDim>::kVectors};
    //! Rows of an odd number of elements share words with their neighbours: they are read from shared memory, an
    //! element at a time.
    static constexpr bool kCopiesBias{kTokens % 2 != 0};
    static constexpr int32_t kBiasVectors{kCopiesBias ? biasVectors(kTokens) : 0};
    static constexpr int32_t kSharedBytes{16 * (2 * kVectors + kBiasVectors)};
    static constexpr int32_t kBlocks{kHeadDim <= 32 ? 6 : 3}; //!< of a multiprocessor, at least
};

//! What lane % 4 = t has of a row: of each 32 channels words 4 t to 4 t + 3; of 16 in all, words 2 t and 2 t + 1.
template <int32_t kHeadDim>
__device__ __forceinline__ void readRow(uint4 const* row, int32_t t, bool isReal, uint32_t (&words)[kHeadDim / 8])
{
    if constexpr (kHeadDim == 16)
    {
        uint2 const pair = isReal ? reinterpret_cast<uint2 const*>(row)[t] : uint2{};
        words[0] = pair.x;
        words[1] = pair.y;
    }
    else
    {
#pragma unroll
        for (int32_t group = 0; group < kHeadDim / 32; ++group)
        {
            uint4 const four = isReal ? row[4 * group + t] : uint4{};
            words[4 * group] = four.x;
            words[4 * group + 1] = four.y;
            words[4 * group + 2] = four.z;
            words[4 * group + 3] = four.w;
        }
    }
}

template <Element kElement, int32_t kWords>
__device__ __forceinline__ void addTo(uint32_t (&words)[kWords], uint32_t const (&terms)[kWords])
{
#pragma unroll
    for (int32_t i = 0; i < kWords; ++i)
    {
        words[i] = addPairs<kElement>(words[i], terms[i]);
    }
}

//! The position bias of a head, in shared or in global memory.
template <Element kElement, int32_t kTokens, int32_t kHeadDim>
struct WholeBias
{
    using Type = typename Cell<kElement>::Type;
    using Shape = WholeShape<kTokens, kHeadDim>;

    Type const* table; //!< (t, t)

    //! Starts the copy, from the last multiple of 16 bytes before the table, and looks there from now on.
    __device__ void copy(uint4* shared)
    {
        auto const place = reinterpret_cast<uintptr_t>(table);
        auto const before = static_cast<int32_t>(place % 16);
        auto const* const from = reinterpret_cast<char const*>(table) - before;
        constexpr int32_t kBytes{kTokens * kTokens * static_cast<int32_t>(sizeof(Type))};
        auto const thread = static_cast<int32_t>(threadIdx.x);
#pragma unroll
        for (int32_t pass = 0; pass < (Shape::kBiasVectors - 1) / Shape::kThreads + 1; ++pass)
        {
            int32_t const i = pass * Shape::kThreads + thread;
            if ((pass + 1) * Shape::kThreads * 16 <= kBytes)
            {
                copyAsync(shared + i, from + 16 * i);
                continue;
            }
            int32_t const left = before + kBytes - 16 * i;
            if (left > 0)
            {
                copyAsync(shared + i, from + 16 * i, left < 16 ? left : 16);
            }
        }
        table = reinterpret_cast<Type const*>(shared) + before / static_cast<int32_t>(sizeof(Type));
    }

    //! Adds it to scores; keys that there are not get minus infinity.
    __device__ void addTo(float (&scores)[Shape::kKeyTiles][4], LanePlace at, int32_t top) const
    {
#pragma unroll
        for (int32_t tile = 0; tile < Shape::kKeyTiles; ++tile)
        {
#pragma unroll
            for (int32_t half = 0; half < 2; ++half)
            {
                int32_t const row = top + at.row + half * 8;
                int32_t const column = tile * 8 + at.column;
                Type const* const from = table + row * kTokens + column;
                if constexpr (Shape::kCopiesBias)
                {
#pragma unroll
                    for (int32_t i = 0; i < 2; ++i)
                    {
                        bool const isKey = tile * 8 + 8 <= kTokens || column + i < kTokens;
                        float const bias = isKey && row < kTokens ? toFloat<kElement>(from[i]) : 0.0F;
                        scores[tile][2 * half + i] = isKey ? scores[tile][2 * half + i] + bias : -INFINITY;
                    }
                }
                else
                {
                    uint32_t const both = *reinterpret_cast<uint32_t const*>(from);
                    scores[tile][2 * half] += toFloat<kElement>(static_cast<uint16_t>(both & 0xffffU));
                    scores[tile][2 * half + 1] += toFloat<kElement>(static_cast<uint16_t>(both >> 16));
                }
            }
        }
    }
};

//! Values of a head on their way to shared memory: rows of vectors, a vector of each of a thread's rows.
template <Element kElement, int32_t kTokens, int32_t kHeadDim>
struct WholeValues
{
    using Rows = HeadRows<kHeadDim>;
    using Shape = WholeShape<kTokens, kHeadDim>;
    static constexpr int32_t kRowsPerPass{Shape::kThreads / Rows::kVectors};
    static constexpr int32_t kPasses{Shape::kRows / kRowsPerPass};

    uint4 read[kPasses];
    uint4 bias;

    __device__ static int32_t vectorOf()
    {
        return static_cast<int32_t>(threadIdx.x % static_cast<uint32_t>(Rows::kVectors));
    }

    __device__ static int32_t rowOf(int32_t pass)
    {
        return static_cast<int32_t>(threadIdx.x / static_cast<uint32_t>(Rows::kVectors)) + pass * kRowsPerPass;
    }

    //! \param pitch Vectors from a row to the next.
    __device__ void load(uint4 const* rows, uint4 const* biases, int32_t pitch)
    {
        int32_t const vector = vectorOf();
        bias = biases[vector];
#pragma unroll
        for (int32_t i = 0; i < kPasses; ++i)
        {
            int32_t const row = rowOf(i);
            read[i] = row < kTokens ? rows[row * pitch + vector] : uint4{};
        }
    }

    //! With their bias; rows that there are not are zeros.
    __device__ void store(uint4* shared) const
    {
#pragma unroll
        for (int32_t i = 0; i < kPasses; ++i)
        {
            int32_t const row = rowOf(i);
            uint4 const value = read[i];
            shared[Rows::place(row, vectorOf())] = row < kTokens
                ? uint4{addPairs<kElement>(value.x, bias.x), addPairs<kElement>(value.y, bias.y),
                      addPairs<kElement>(value.z, bias.z), addPairs<kElement>(value.w, bias.w)}
                : value;
        }
    }
};

template <Element kElement, int32_t kHeadDim, int32_t kTokens>
__global__ void __launch_bounds__(WholeShape<kTokens, kHeadDim>::kThreads, WholeShape<kTokens, kHeadDim>::kBlocks)
    attendWhole(AttentionArrays<kElement> arrays)
{
    using Rows = HeadRows<kHeadDim>;
    using Shape = WholeShape<kTokens, kHeadDim>;
    SPARSEVIT_SHARED_MEMORY(shared);
    uint4* const answers = shared;
    uint4* const v = answers + Shape::kVectors;
    uint32_t part = blockIdx.x; // heads of a window follow each other: their rows are neighbours in memory
    int64_t const position = arrays.byHeads.split(part);
    auto const head = static_cast<int32_t>(part);
    // The position bias is three loads away, one behind the other. All that is read meanwhile depends on none of them.
    int64_t const window = arrays.index.at(position);
    LanePlace const at = LanePlace::own();
    int32_t const t = at.lane % 4;
    auto const top = static_cast<int32_t>(threadIdx.x / uint32_t{kWarpLanes} * 16U);
    auto const pitch = static_cast<int32_t>(arrays.channels / 8);
    int32_t const column = head * Rows::kVectors;
    auto const* const rows =
        reinterpret_cast<uint4 const*>(arrays.qkv) + position * (3 * kTokens) * pitch + column;
    auto const* const biases = reinterpret_cast<uint4 const*>(arrays.qkvBias) + column;
    uint32_t queries[2][Shape::kWords];
    uint32_t keys[Shape::kKeyTiles][Shape::kWords];
    uint32_t queryBias[Shape::kWords];
    uint32_t keyBias[Shape::kWords];
    WholeValues<kElement, kTokens, kHeadDim> values;
    readRow<kHeadDim>(biases, t, true, queryBias);
    readRow<kHeadDim>(biases + pitch, t, true, keyBias);
#pragma unroll
    for (int32_t half = 0; half < 2; ++half)
    {
        int32_t const row = top + at.row + 8 * half;
        readRow<kHeadDim>(rows + row * 3 * pitch, t, row < kTokens, queries[half]);
    }
#pragma unroll
    for (int32_t tile = 0; tile < Shape::kKeyTiles; ++tile)
    {
        int32_t const row = tile * 8 + at.row;
        readRow<kHeadDim>(rows + (row * 3 + 1) * pitch, t, row < kTokens, keys[tile]);
    }
    values.load(rows + 2 * pitch, biases + 2 * pitch, 3 * pitch);
    __syncwarp(); // no load is put off behind it, or it would start when the window's kind is there
    WholeBias<kElement, kTokens, kHeadDim> bias{arrays.biasOfWindow(window, head)};
    if constexpr (Shape::kCopiesBias)
    {
        bias.copy(v + Shape::kVectors);
    }
    values.store(v);
    addTo<kElement>(queries[0], queryBias);
    addTo<kElement>(queries[1], queryBias);
    float scores[Shape::kKeyTiles][4]{};
#pragma unroll
    for (int32_t tile = 0; tile < Shape::kKeyTiles; ++tile)
    {
        addTo<kElement>(keys[tile], keyBias);
#pragma unroll
        for (int32_t step = 0; step < kHeadDim / 16; ++step)
        {
            uint32_t const a[4]{queries[0][2 * step], queries[1][2 * step], queries[0][2 * step + 1],
                queries[1][2 * step + 1]};
            multiplyAdd<kElement>(scores[tile], a, keys[tile][2 * step], keys[tile][2 * step + 1]);
        }
    }
    waitForCopies();
    __syncthreads();
    bias.addTo(scores, at, top);
    RowSums<kHeadDim> sums;
    exponentiate<kHeadDim>(scores, sums, true);
    addValues<kElement, kHeadDim>(v, scores, at, 0, Shape::kRows, sums);
    auto* const output = reinterpret_cast<uint4*>(arrays.output) + position * kTokens * pitch + column;
    writeRows<kElement, kHeadDim>(sums, answers, at, top, kTokens, output, pitch);
}

} // namespace sparsevit
