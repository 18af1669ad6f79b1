// Tokens of a map to what the network hands out: their LayerNorm, channels first.
//
// Floor, of B maps of P tokens of C channels of e bytes, o as they are written: B P C e read and B P C o written. A block
// takes 8 to 32 tokens of a map into shared memory, as many as fit, up to 2992 channels in half precision and 1496
// in float: it reads them token by token and writes them channel by channel, both in the order of memory. More channels,
// and those of odd addresses, are read from the map itself.
#pragma once

#include "kernels/element.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct FeatureMapNormParams
{
    int64_t batch;     //!< B; 0 is legal
    int64_t tokens;    //!< P, height times width, at least 1
    int64_t channels;  //!< C, at least 1
    Element element;   //!< of x, scale and shift; statistics are in float
    Element output;    //!< of y: the same, or float
    float epsilon;     //!< added to the variance
    void const* x;     //!< (B, P, C)
    void const* scale; //!< (C)
    void const* shift; //!< (C)
    void* y;           //!< (B, C, P)
};

//! Enqueues it on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchFeatureMapNorm(FeatureMapNormParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
