// Which boxes take part in a suppression, in which order, and which of them suppress each other. Plain C++ as well as
// CUDA, so that it is tested on the host.
#pragma once

#include "kernels/host_device.h"
#include "kernels/round_nearest.h"

#include <cmath>
#include <cstdint>

namespace sparsevit
{

//! x1, y1, x2, y2; not known to be in this order.
struct alignas(16) Box
{
    float x1;
    float y1;
    float x2;
    float y2;

    SPARSEVIT_HOST_DEVICE static Box at(float const* corners)
    {
        return {corners[0], corners[1], corners[2], corners[3]};
    }

    SPARSEVIT_HOST_DEVICE bool hasNan() const
    {
        return !(x1 == x1 && y1 == y1 && x2 == x2 && y2 == y2);
    }

    SPARSEVIT_HOST_DEVICE float area() const
    {
        return rn::multiply(rn::subtract(x2, x1), rn::subtract(y2, y1));
    }
};

//! Key of a box that takes no part. No score that exceeds a threshold is as low.
constexpr float kNoKey{-INFINITY};

//! What a box is ordered by: its score, or kNoKey where that does not exceed the threshold or something is no number.
SPARSEVIT_HOST_DEVICE float keyOf(Box const& box, float score, float scoreThreshold)
{
    return score > scoreThreshold && !box.hasNan() ? score : kNoKey;
}

//! Whether the box of index `a` is looked at before that of index `b`: the higher key, or the lower index.
SPARSEVIT_HOST_DEVICE bool isBefore(float keyA, int32_t a, float keyB, int32_t b)
{
    return keyA > keyB || (keyA == keyB && a < b);
}

//! Whether the intersection over the union of two boxes exceeds the threshold, in NumPy's float32 steps. A degenerate
//! box intersects nothing: it ends where it begins, or before.
SPARSEVIT_HOST_DEVICE bool overlaps(Box const& a, Box const& b, float iouThreshold)
{
    float const width = rn::subtract(a.x2 < b.x2 ? a.x2 : b.x2, a.x1 > b.x1 ? a.x1 : b.x1);
    float const height = rn::subtract(a.y2 < b.y2 ? a.y2 : b.y2, a.y1 > b.y1 ? a.y1 : b.y1);
    if (!(width > 0.0F && height > 0.0F)) // most pairs: no division
    {
        return false;
    }
    float const intersection = rn::multiply(width, height);
    float const both = rn::subtract(rn::add(a.area(), b.area()), intersection);
    return rn::divide(intersection, both) > iouThreshold;
}

} // namespace sparsevit
