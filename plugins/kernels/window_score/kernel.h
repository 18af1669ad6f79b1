// Scores every window of a token map: the L2 norm over its tokens of their mean absolute activation, in one pass.
#pragma once

#include "kernels/element.h"
#include "kernels/window_index.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct WindowScoreParams
{
    WindowGrid grid;
    int64_t batch;    //!< B
    int64_t channels; //!< C, at least 1
    Element element;  //!< of x
    void const* x;    //!< (B, H, W, C)
    float* scores;    //!< (B, nW); sums are in float, and the same on every run
};

//! Enqueues the scoring on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchWindowScore(WindowScoreParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
