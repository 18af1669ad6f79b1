// The residual sum behind a layer, and the LayerNorm of it that the next layer reads.
//
// Floor, of n rows of C channels of e bytes: 2 n C e read and 2 n C e written; three operations an element. A row stays
// in the registers of a part of a warp between its sum, its variance and its answer: up to 32 x 12 vectors of 16 bytes
// (3072 channels in half precision, 1536 in float) where all addresses allow vectors. Others are read back.
#pragma once

#include "kernels/element.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct AddNormParams
{
    int64_t rows;       //!< n; 0 is legal
    int64_t channels;   //!< C, at least 1
    Element element;    //!< of all tensors; the sum is in float and rounded once, statistics are in float
    float epsilon;      //!< added to the variance
    void const* x;      //!< (n, C)
    void const* update; //!< (n, C)
    void const* bias;   //!< (C), of the layer that gave the update
    void const* scale;  //!< (C)
    void const* shift;  //!< (C)
    void* sum;          //!< (n, C): x + (update + bias); may be x
    void* normed;       //!< (n, C): the sum's LayerNorm
};

//! Enqueues it on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchAddNorm(AddNormParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
