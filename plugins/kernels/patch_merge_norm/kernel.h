// Patches of 2x2 tokens as one token each, and its LayerNorm: the beginning of a patch merging.
//
// Floor, of B maps of H W tokens of C channels of e bytes: B H W C e read and, where H and W are even, as much written.
// A merged token lies on the map in two runs, in the rows of its patch. It stays in the registers of a part of a warp
// between its sum, its variance and its answer, as in AddNorm; longer ones are read three times.
#pragma once

#include "kernels/element.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct PatchMergeNormParams
{
    int64_t batch;     //!< B; 0 is legal
    int64_t height;    //!< H, tokens, at least 1
    int64_t width;     //!< W, tokens, at least 1
    int64_t channels;  //!< C, at least 1
    Element element;   //!< of all tensors; statistics are in float
    float epsilon;     //!< added to the variance
    void const* x;     //!< (B, H, W, C)
    void const* scale; //!< (4 C)
    void const* shift; //!< (4 C)
    void* normed; //!< (B, R, Q, 4 C), R and Q half of H and W, rounded up: the LayerNorm of a patch's tokens, row by row;
                  //!< those beyond the map are zeros
};

//! Enqueues it on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchPatchMergeNorm(PatchMergeNormParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
