// How a head of a window lies in shared memory, and how windows and heads are dealt to blocks. Plain C++ as well as
// CUDA.
#pragma once

#include "kernels/host_device.h"

#include <cstdint>

namespace sparsevit
{

//! Rows of kHeadDim 2-byte elements as vectors of 16 bytes, without padding between them. Shared memory has 32 banks of
//! 4 bytes, so eight vectors are free of conflicts if they lie at eight different places modulo eight. Both accesses
//! take eight at a time: rows are written vector after vector, which any order within 128 bytes satisfies; matrices are
//! read down a column of vectors, eight rows of one of them. Rows of 2, 4 or 8 vectors put 4, 2 or 1 of them on a line
//! of 128 bytes; swapping a row's vectors by the number of its line spreads that column over the line's eight places.
template <int32_t kHeadDim>
struct HeadRows
{
    static_assert(kHeadDim == 16 || kHeadDim == 32 || kHeadDim == 64);
    static constexpr int32_t kVectors{kHeadDim / 8};
    static constexpr int32_t kRowsPerLine{8 / kVectors};

    SPARSEVIT_HOST_DEVICE static int32_t place(int32_t row, int32_t vector)
    {
        return row * kVectors + (vector ^ ((row / kRowsPerLine) & (kVectors - 1)));
    }
};

//! Vectors of 16 bytes that hold the position biases of a head, 2-byte elements, as they lie in memory: they may begin
//! anywhere in the first.
SPARSEVIT_HOST_DEVICE constexpr int32_t biasVectors(int32_t tokens)
{
    return (tokens * tokens * 2 + 14 + 15) / 16;
}

//! Tokens, filled up to whole tiles of a product.
SPARSEVIT_HOST_DEVICE constexpr int32_t wholeTiles(int32_t tokens)
{
    return (tokens + 15) / 16 * 16;
}

} // namespace sparsevit
