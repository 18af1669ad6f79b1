// Where the samples of a RoIAlign lie, and what each cell of the map weighs in a bin. Plain C++ as well as CUDA, so
// that it is tested on the host.
//
// It is separable: a bin is the mean over rows of the mean over columns, so everything here is along one axis.
// Positions are those of mmcv's and ONNX's RoIAlign (aligned, average, sampling ratio 0), step by step: how many
// samples a bin has is a number rounded up.
#pragma once

#include "kernels/host_device.h"
#include "kernels/round_nearest.h"

#include <cstdint>

namespace sparsevit
{

constexpr int32_t kRoiLevels{4};

//! Index of the map that a box is read from: floor(log2(sqrt(w h) / finest + 1e-6)) from 0 to 3, where each map begins
//! with a box twice as large as the one before. No logarithm: it would round to the next map from just below.
SPARSEVIT_HOST_DEVICE int32_t roiLevel(float width, float height, float finestScale)
{
    float const size = rn::add(rn::divide(rn::root(rn::multiply(width, height)), finestScale), 1e-6F);
    return (size >= 2.0F ? 1 : 0) + (size >= 4.0F ? 1 : 0) + (size >= 8.0F ? 1 : 0);
}

//! A sample between two cells: `low` and `low + 1`, or `low` twice on the map's last cell, where `fraction` is 0.
struct RoiSample
{
    int32_t low;
    int32_t high;
    float fraction; //!< weight of `high`
};

//! The cells that samples of one bin touch.
struct RoiBand
{
    int32_t first;
    int32_t count; //!< 0 where no sample lies on the map
};

//! One axis of a box on a map.
class RoiAxis
{
public:
    //! A box that has more samples in a bin than this is no box of any image.
    static constexpr float kMostSamples{1048576.0F};

    //! \param low, high Of the box, pixels of the network's input.
    //! \param stride Pixels per cell.
    //! \param bins Along the axis.
    //! \param extent Cells of the map along the axis, at least 1.
    SPARSEVIT_HOST_DEVICE RoiAxis(float low, float high, float stride, int32_t bins, int32_t extent)
        : mStart{rn::subtract(rn::divide(low, stride), 0.5F)}
        , mExtent{extent}
    {
        float const end = rn::subtract(rn::divide(high, stride), 0.5F);
        mBin = rn::divide(rn::subtract(end, mStart), static_cast<float>(bins));
        // False for an empty box, for one without end, and for what is no number.
        if (mBin > 0.0F && mBin <= kMostSamples)
        {
            auto const whole = static_cast<int32_t>(mBin);
            mSamples = whole + (static_cast<float>(whole) < mBin ? 1 : 0);
        }
    }

    //! Samples of a bin, on the map or not; 0 for an empty box.
    SPARSEVIT_HOST_DEVICE int32_t samples() const
    {
        return mSamples;
    }

    //! Sets the range of a bin's samples that lie on the map, `end` not among them. The others weigh nothing, however
    //! many there are: the work is bounded by the map.
    SPARSEVIT_HOST_DEVICE void range(int32_t bin, int32_t& begin, int32_t& end) const
    {
        // From a place on the map to the number of a sample; a few more at both ends, and these are looked at.
        float const perCell = static_cast<float>(mSamples) / mBin;
        float const binStart = mStart + static_cast<float>(bin) * mBin;
        begin = within((-1.0F - binStart) * perCell - 2.0F);
        end = within((static_cast<float>(mExtent) - binStart) * perCell + 2.0F);
        while (begin < end && position(bin, begin) < -1.0F)
        {
            ++begin;
        }
        while (end > begin && position(bin, end - 1) > static_cast<float>(mExtent))
        {
            --end;
        }
    }

    //! \param sample In the bin's range.
    SPARSEVIT_HOST_DEVICE RoiSample sample(int32_t bin, int32_t sample) const
    {
        float const place = position(bin, sample);
        float const onMap = place > 0.0F ? place : 0.0F;
        auto const low = static_cast<int32_t>(onMap);
        if (low >= mExtent - 1)
        {
            return {mExtent - 1, mExtent - 1, 0.0F};
        }
        return {low, low + 1, rn::subtract(onMap, static_cast<float>(low))};
    }

    SPARSEVIT_HOST_DEVICE RoiBand band(int32_t bin) const
    {
        int32_t begin = 0;
        int32_t end = 0;
        range(bin, begin, end);
        if (begin == end)
        {
            return {0, 0};
        }
        int32_t const first = sample(bin, begin).low;
        return {first, sample(bin, end - 1).high - first + 1};
    }

    //! Writes what each cell of a bin's band weighs; the weights of a bin that lies on the map sum to 1.
    SPARSEVIT_HOST_DEVICE void weigh(int32_t bin, RoiBand const& band, float* weights) const
    {
        for (int32_t i = 0; i < band.count; ++i)
        {
            weights[i] = 0.0F;
        }
        int32_t begin = 0;
        int32_t end = 0;
        range(bin, begin, end);
        auto const all = static_cast<float>(mSamples);
        for (int32_t i = begin; i < end; ++i)
        {
            RoiSample const at = sample(bin, i);
            weights[at.low - band.first] += (1.0F - at.fraction) / all;
            weights[at.high - band.first] += at.fraction / all;
        }
    }

private:
    SPARSEVIT_HOST_DEVICE float position(int32_t bin, int32_t sample) const
    {
        float const binStart = rn::add(mStart, rn::multiply(static_cast<float>(bin), mBin));
        float const inBin = rn::multiply(static_cast<float>(sample) + 0.5F, mBin);
        return rn::add(binStart, rn::divide(inBin, static_cast<float>(mSamples)));
    }

    //! A number of samples, cut to those there are.
    SPARSEVIT_HOST_DEVICE int32_t within(float number) const
    {
        float const cut = number > 0.0F ? number : 0.0F;
        return cut < static_cast<float>(mSamples) ? static_cast<int32_t>(cut) : mSamples;
    }

    float mStart;
    float mBin{0.0F};
    int32_t mExtent;
    int32_t mSamples{0};
};

} // namespace sparsevit
