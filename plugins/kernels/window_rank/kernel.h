// All windows of a token map by falling score: WindowScore and its sort, without a limit to the number of windows.
//
// Floor, of B samples: B H W C e bytes read and 4 B nW written, one addition an element; the sort moves next to
// nothing, and what counts is how long it takes to answer. Scores are written by WindowScore's kernel (so they are the
// same). Up to 4096 windows (a 1024x2048 input has 2738) each finds its place by itself: how many precede it, counted
// by lanes of many blocks at once; two launches, no step that waits for another's. That is the square of windows in
// comparisons, so more windows are sorted by a block per sample and 2048 of them in shared memory, exchanging pairs (a
// bitonic network of 66 steps), and merged by place: a window comes after all that precede it, which is a binary search
// in each other block's list.
#pragma once

#include "kernels/element.h"
#include "kernels/window_index.h"

#include <cstddef>
#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct WindowRankParams
{
    WindowGrid grid;
    int64_t batch;    //!< B
    int64_t channels; //!< C, at least 1
    Element element;  //!< of x
    void const* x;    //!< (B, H, W, C)
    int32_t* order;   //!< (B, nW) ids; of equal scores the lower id first, scores that are no number last
    void* workspace;  //!< windowRankWorkspace() bytes, aligned to 8
};

//! Bytes of the workspace: of a window and sample 4 up to 4096 windows, else 8.
size_t windowRankWorkspace(WindowGrid const& grid, int64_t batch) noexcept;

//! Enqueues scores and sort on `stream`. \return the first error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchWindowRank(WindowRankParams const& params, cudaStream_t stream) noexcept;

//! Where the sort reads scores (B, windows): in the workspace, or where the order will be.
float* windowRankScores(int32_t windows, int32_t* order, void* workspace) noexcept;

//! The sort alone, of the scores that are there.
cudaError_t launchWindowSort(
    int32_t windows, int64_t batch, int32_t* order, void* workspace, cudaStream_t stream) noexcept;

} // namespace sparsevit
