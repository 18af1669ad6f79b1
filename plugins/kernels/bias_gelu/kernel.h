// Adds a bias to the rows of a product and applies the exact GELU, in place: what follows the first of the two products
// of a feed-forward layer where cuBLASLt does not do it on its way.
//
// Floor, of r rows of C channels of e bytes: r C e read and as much written; an error function an element.
#pragma once

#include "kernels/element.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct BiasGeluParams
{
    int64_t rows;
    int64_t channels;
    Element element;  //!< of both; sums and the function are in float and rounded once
    void const* bias; //!< (channels)
    void* y;          //!< (rows, channels)
};

//! Enqueues the kernel on `stream`. \return its error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchBiasGelu(BiasGeluParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
