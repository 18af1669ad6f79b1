// All windows of a token map by falling score: WindowScore and its sort, without a limit to the number of windows.
//
// Floor, of B samples: B H W C e bytes read and 4 B nW written, one addition an element; the sort moves next to
// nothing. Scores are written by WindowScore's kernel (so they are the same) where the order will be; then a block per
// sample and 2048 windows sorts them in shared memory, exchanging pairs (a bitonic network: log2 n (log2 n + 1) / 2
// steps, 66 for 2048, each one comparison a thread). Up to 2048 windows (a 672x672 input has 576) that is all: two
// launches. More are merged by place: a window comes after all that precede it, which is a binary search in each other
// block's list. A radix sort would take fewer steps of more work each; pairs of score and id in one 64-bit number need
// no stable sort.
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

//! Bytes of the workspace: none up to 2048 windows.
size_t windowRankWorkspace(WindowGrid const& grid, int64_t batch) noexcept;

//! Enqueues scores and sort on `stream`. \return the first error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchWindowRank(WindowRankParams const& params, cudaStream_t stream) noexcept;

//! The sort alone: `order` (B, windows) holds scores in float, and ids afterwards.
cudaError_t launchWindowSort(
    int32_t windows, int64_t batch, int32_t* order, void* workspace, cudaStream_t stream) noexcept;

} // namespace sparsevit
