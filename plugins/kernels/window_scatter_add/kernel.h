// Writes listed windows back into a token map with their last sum: WindowScatter, a residual and a bias in one pass,
// the end of a block.
//
// Floor, in place, of r real tokens in k windows, C channels of e bytes: 2 r C e read and r C e written, two additions
// an element. Elsewhere the map is copied first: B H W C e read and written once more, unless all windows are listed.
#pragma once

#include "kernels/element.h"
#include "kernels/window_index.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct WindowScatterAddParams
{
    WindowGrid grid;
    int64_t batch;      //!< B
    int64_t count;      //!< k, windows listed per sample; 0 is legal
    int64_t channels;   //!< C
    Element element;    //!< of everything but index; sums are in float and rounded once
    int32_t indexBytes; //!< 4 or 8
    void const* x;      //!< (B, H, W, C)
    void const* tokens; //!< (B, k * t, C)
    void const* update; //!< (B, k * t, C)
    void const* bias;   //!< (C)
    void const* index;  //!< (B, k) window ids, distinct within a sample; one that does not exist is skipped
    void* y;            //!< (B, H, W, C): x with the windows as tokens + update + bias; y == x works in place
};

//! Enqueues the copy of x (none in place or where all windows are listed: they cover the map) and the writes on
//! `stream`. \return the first error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchWindowScatterAdd(WindowScatterAddParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
