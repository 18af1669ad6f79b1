// Reads listed windows out of a token map: shift, partition and gather in one pass.
#pragma once

#include "kernels/window_index.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct WindowGatherParams
{
    WindowGrid grid;
    int64_t batch;        //!< B
    int64_t count;        //!< k, windows listed per sample; 0 is legal
    int64_t channels;     //!< C
    int32_t elementBytes; //!< 2 or 4
    int32_t indexBytes;   //!< 4 or 8
    void const* x;        //!< (B, H, W, C)
    void const* index;    //!< (B, k) window ids; one that does not exist reads zeros
    void* windows;        //!< (B, k, T, C); padding is written as zeros
};

//! Enqueues the copy on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchWindowGather(WindowGatherParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
