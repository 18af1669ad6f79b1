// Camera bytes to tokens: each patch of 4x4 pixels of 3 bytes times a 48xC matrix, and the product's LayerNorm.
//
// Floor, of B R Q patches, e bytes an element: 48 bytes read and C e written a patch, 48 C multiply-accumulates: 31 MB
// and 0.6 G at 1024x2048 for 96 channels in half precision, 0.15 ms of an AGX Orin's memory (205 GB/s), which limits.
//
// Half and bfloat16 take tensor cores, with weights of 16 bits and sums in float: 1.2 G multiply-accumulates there,
// 0.06 ms. They need a multiple of 8 channels, up to 192, and tokens at whole vectors of 16 bytes. All else is in
// float: a warp holds the products of 8 patches in registers, up to 192 channels; more are computed anew for mean,
// variance and answer.
#pragma once

#include "kernels/element.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct PatchEmbedParams
{
    int64_t batch;        //!< B
    int64_t height;       //!< H, pixels, at least 1
    int64_t width;        //!< W, pixels, at least 1
    int64_t padMultiple;  //!< a multiple of 4: height and width are padded to multiples of it, at the bottom and right
    int64_t channels;     //!< C, at least 1
    Element element;      //!< of scale, shift and tokens
    float epsilon;        //!< added to the variance
    uint8_t const* image; //!< (B, H, W, 3)
    float const* weight;  //!< (48, C), of row, column and channel of a patch's bytes
    float const* bias;    //!< (C), added to the product
    float const* mean;    //!< (3), bytes that a pixel of the padding counts as
    void const* scale;    //!< (C)
    void const* shift;    //!< (C)
    void* tokens;         //!< (B, R, Q, C): R and Q padded height and width, divided by 4
};

//! Enqueues the embedding on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchPatchEmbed(PatchEmbedParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
