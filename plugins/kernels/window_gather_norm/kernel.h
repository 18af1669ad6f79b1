// Reads listed windows out of a token map and normalises each token: WindowGather and LayerNorm in one pass, the
// beginning of a block.
//
// Floor, of r real tokens in k windows of t, C channels of e bytes: r C e read and 2 k t C e written; nothing is
// multiplied but scale and deviation. A token stays in the registers of a part of a warp between its sum, its variance
// and its answer, so that the map is read once; that is so for up to 32 x 12 vectors of 16 bytes (3072 channels in half
// precision, 1536 in float) where all addresses allow vectors. Other tokens are read again for each of the three.
#pragma once

#include "kernels/element.h"
#include "kernels/window_index.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct WindowGatherNormParams
{
    WindowGrid grid;
    int64_t batch;      //!< B
    int64_t count;      //!< k, windows listed per sample; 0 is legal
    int64_t channels;   //!< C, at least 1
    Element element;    //!< of x, scale, bias, tokens and normed; statistics are in float
    int32_t indexBytes; //!< 4 or 8
    float epsilon;      //!< added to the variance
    void const* x;      //!< (B, H, W, C)
    void const* index;  //!< (B, k) window ids; one that does not exist reads zeros
    void const* scale;  //!< (C)
    void const* bias;   //!< (C)
    void* tokens;       //!< (B, k * t, C); padding is written as zeros
    void* normed;       //!< (B, k * t, C): their LayerNorm; of padding, the bias
};

//! Enqueues the copy on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchWindowGatherNorm(WindowGatherNormParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
