// Scores of classes to labels: scaled bilinearly, the class of the highest score, without a map of scaled scores.
//
// Floor, of K classes on h x w cells of e bytes and H x W labels: K h w e read and H W written: 7 MB for 19 classes in
// half precision, 1024x2048 labels of 256x512 cells, where the scaled scores in float would be 160 MB. A thread takes a
// cell, whose labels are between it and its eight neighbours: scales 1, 2 and 4. Other scales take a thread a label.
#pragma once

#include "kernels/element.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{

struct LabelDecodeParams
{
    int64_t batch;      //!< B
    int64_t classes;    //!< K, 1 to 256
    int64_t rows;       //!< h, cells, at least 1
    int64_t columns;    //!< w, cells, at least 1
    int32_t scale;      //!< labels of a cell along a side, at least 1
    int64_t height;     //!< H, labels, at most h * scale: what is over is cropped
    int64_t width;      //!< W, at most w * scale
    Element element;    //!< of the scores; they are scaled in float
    void const* logits; //!< (B, K, h, w); one that is no number is never the highest
    uint8_t* labels;    //!< (B, H, W): of equal scores the lower class
};

//! Enqueues the decoding on `stream`. \return the launch's error; cudaErrorInvalidValue for sizes out of range.
cudaError_t launchLabelDecode(LabelDecodeParams const& params, cudaStream_t stream) noexcept;

} // namespace sparsevit
