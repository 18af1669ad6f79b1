// Greedy non-maximum suppression, each group of boxes by itself; says which boxes are kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct NmsKeepParams
{
    int64_t groups;       //!< G; 0 is legal
    int64_t count;        //!< N, boxes of a group; 0 is legal
    float iou;            //!< a box is suppressed by a better one where their IoU exceeds it; 0 or more
    float scoreThreshold; //!< only scores that exceed it take part
    int64_t limit;        //!< boxes kept of a group at most; 0 is legal
    float const* boxes;   //!< (G, N, 4) x1, y1, x2, y2; one that holds a NaN takes no part
    float const* scores;  //!< (G, N); of equal ones the lower index comes first
    int32_t* keep;        //!< (G, N), 1 where a box is kept, else 0
    void* workspace;      //!< nmsKeepWorkspace() bytes, aligned to 16
};

//! Bytes that the launch needs for a while, the same on every device: 20 a box. 0 for sizes out of range.
size_t nmsKeepWorkspace(int64_t groups, int64_t count) noexcept;

//! Enqueues the suppression on `stream`; the answer is the same on every run. \return the first error;
//! cudaErrorInvalidValue for sizes, thresholds or addresses out of range.
cudaError_t launchNmsKeep(NmsKeepParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
