// RoIAlign of boxes of all sizes: each is read from the one of four maps that fits its size.
#pragma once

#include "kernels/element.h"
#include "kernels/multi_level_roi_align/sampling.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct RoiMap
{
    void const* cells; //!< (B, C, height, width)
    int32_t height;
    int32_t width;
    float stride; //!< pixels of the network's input per cell
};

struct MultiLevelRoiAlignParams
{
    RoiMap maps[kRoiLevels]; //!< finest first
    int64_t batch;           //!< B
    int64_t count;           //!< N, boxes per sample; 0 is legal
    int64_t channels;        //!< C
    int32_t outputSize;      //!< bins along one side of the output
    float finestScale;       //!< side of a square box, pixels; below twice that it is read from the finest map
    Element element;         //!< of the maps and the output; sums are in float
    float const* boxes;      //!< (B, N, 4) x1, y1, x2, y2 in pixels; an empty one gives 0, and one that is no number
    void* output;            //!< (B, N, C, outputSize, outputSize)
};

//! Enqueues the pooling on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchMultiLevelRoiAlign(MultiLevelRoiAlignParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
