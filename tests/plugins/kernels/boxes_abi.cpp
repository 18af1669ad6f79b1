// What the kernels of boxes decide by, with a C ABI for test_nms_keep.py and test_multi_level_roi_align.py.
#include "kernels/multi_level_roi_align/sampling.h"
#include "kernels/nms_keep/overlap.h"

extern "C"
{

//! boxes: (count, 2, 4), thresholds and result: (count).
void overlapsOf(int32_t count, float const* boxes, float const* thresholds, uint8_t* result)
{
    for (int32_t i = 0; i < count; ++i)
    {
        auto const first = sparsevit::Box::at(boxes + i * 8);
        result[i] = sparsevit::overlaps(first, sparsevit::Box::at(boxes + i * 8 + 4), thresholds[i]) ? 1 : 0;
    }
}

int32_t roiLevelOf(float width, float height, float finestScale)
{
    return sparsevit::roiLevel(width, height, finestScale);
}

//! weights: (bins, extent), zeroed. \return samples of a bin.
int32_t weightsOf(float low, float high, float stride, int32_t bins, int32_t extent, float* weights)
{
    sparsevit::RoiAxis const axis{low, high, stride, bins, extent};
    for (int32_t i = 0; i < bins; ++i)
    {
        auto const band = axis.band(i);
        axis.weigh(i, band, weights + i * extent + band.first);
    }
    return axis.samples();
}
}
