// Writes listed windows back into a token map, through the shift, skipping padding.
#pragma once

#include "kernels/window_index.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct WindowScatterParams
{
    WindowGrid grid;
    int64_t batch;        //!< B
    int64_t count;        //!< k, windows listed per sample; 0 is legal
    int64_t channels;     //!< C
    int32_t elementBytes; //!< 2 or 4
    int32_t indexBytes;   //!< 4 or 8
    void const* x;        //!< (B, H, W, C)
    void const* windows;  //!< (B, k, T, C)
    void const* index;    //!< (B, k) window ids, distinct within a sample; one that does not exist is skipped
    void* y;              //!< (B, H, W, C): x with the windows replaced; y == x works in place
};

//! Enqueues the copy of x (none in place or where all windows are listed: they cover the map) and the writes on
//! `stream`. \return the first error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchWindowScatter(WindowScatterParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
