// Attention within each listed window: softmax(q k' + position bias) v for all windows and heads in one launch. Scores
// and probabilities stay in registers.
//
// Floor, per window of t tokens and C channels, e bytes an element, D = C / heads:
//   bytes   t (3 C + C) e; the bias t^2 e a head comes from the caches: 12.5 KB and 4.8 KB a head for 7x7, D = 32, half
//   MACs    2 t^2 C, 0.15 M a head; done in tiles of 16 and 8: 0.25 M for 7x7, exactly the floor for 12x12
// An AGX Orin (205 GB/s, 21 T MAC/s) takes 61 ns for these bytes and 12 ns for the MACs: memory is what limits.
//
// Half and bfloat16 with D = 16, 32 or 64 and windows that fit into shared memory (up to 16x16 for D = 32) take tensor
// cores where all tensors begin at multiples of 16 bytes: 7x7 and 8x8 by a kernel that reads queries and keys into
// registers, 12x12 with everything known to the compiler, other sizes without. All else is a plain kernel in float.
#pragma once

#include "kernels/element.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct WindowAttentionParams
{
    int64_t batch;            //!< B
    int64_t count;            //!< k, windows listed per sample; 0 is legal
    int64_t channels;         //!< C, a multiple of heads
    int32_t heads;            //!< at least 1
    int32_t windowSize;       //!< t = windowSize * windowSize
    int64_t windows;          //!< nW
    int64_t kinds;            //!< of windows, at least 1
    Element element;          //!< of qkv, qkvBias, positionBias and output
    int32_t indexBytes;       //!< 4 or 8
    void const* qkv;          //!< (B, k * t, 3 C): q, k, v, each (heads, D); q is scaled already
    void const* qkvBias;      //!< (3 C), added to them
    void const* index;        //!< (B, k) window ids; one that does not exist is of kind 0
    int32_t const* kind;      //!< (nW) from 0 to kinds - 1; others count as 0
    void const* positionBias; //!< (kinds, heads, t, t)
    void* output;             //!< (B, k * t, C), heads outermost within C
};

//! Enqueues the attention on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchWindowAttention(WindowAttentionParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
