// What a pixel of the scaled frame is made of: OpenCV's arithmetic, bit for bit, one pixel at a time.
//
// The same as sparsevit_runtime.images.letterbox and .stretch. A letterboxed frame is halved by 2x2 means while both
// sides stay at least as large as the target and divide by 2, then cv2.resize with INTER_LINEAR, or INTER_AREA where a
// side still shrinks by more than 2. A stretched one is halved only where OpenCV does it, at half of both sides, and else
// bilinear. The halves are computed on the way and never stored. Plain C++ as well as CUDA, so that it is tested on the
// host.
#pragma once

#include "kernels/round_nearest.h"
#include "kernels/window_index.h"

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define SPARSEVIT_NEVER_INLINE static __noinline__ __host__ __device__
#else
#define SPARSEVIT_NEVER_INLINE inline
#endif

namespace sparsevit
{

constexpr int32_t kChannels{3};

SPARSEVIT_HOST_DEVICE uint8_t saturated(float value)
{
    auto const level = static_cast<int32_t>(rintf(value)); // halves to even
    return static_cast<uint8_t>(level < 0 ? 0 : level > 255 ? 255 : level);
}

//! One axis: `length` pixels of the (halved) frame become `size` pixels.
struct Axis
{
    int32_t length{1};
    int32_t size{1};
    double scale{1.0}; //!< frame pixels per input pixel, as OpenCV computes it

    Axis() = default;
    Axis(int32_t frameLength, int32_t scaledSize)
        : length{frameLength}
        , size{scaledSize}
        , scale{1.0 / (static_cast<double>(scaledSize) / static_cast<double>(frameLength))}
    {
    }

    //! The frame's pixels per scaled pixel where that is a whole number, else 0.
    int32_t wholeScale() const
    {
        return length % size == 0 ? length / size : 0;
    }
};

//! The frame's bytes, and how often it is halved before anything else.
struct Frame
{
    static constexpr int32_t kMostHalvings{15};

    uint8_t const* bytes{nullptr};
    int64_t pitch{0};
    int32_t halvings{0};
};

//! Byte of a frame halved kHalvings times; each mean is rounded.
template <int32_t kHalvings>
SPARSEVIT_HOST_DEVICE uint32_t byteHalved(Frame const& frame, int32_t x, int32_t y, int32_t channel)
{
    if constexpr (kHalvings == 0)
    {
        return frame.bytes[y * frame.pitch + int64_t{x} * kChannels + channel];
    }
    else if constexpr (kHalvings == 1)
    {
        uint8_t const* const upper = frame.bytes + 2 * y * frame.pitch + int64_t{2} * x * kChannels + channel;
        uint8_t const* const lower = upper + frame.pitch;
        return (uint32_t{upper[0]} + upper[kChannels] + lower[0] + lower[kChannels] + 2) >> 2;
    }
    else
    {
        uint32_t sum = 2;
        for (int32_t quarter = 0; quarter < 4; ++quarter)
        {
            sum += byteHalved<kHalvings - 1>(frame, 2 * x + (quarter & 1), 2 * y + (quarter >> 1), channel);
        }
        return sum >> 2;
    }
}

//! As often as the frame says; a call, for written out at every use it would be megabytes of code.
SPARSEVIT_NEVER_INLINE uint32_t byteHalvedOften(Frame const& frame, int32_t x, int32_t y, int32_t channel)
{
    switch (frame.halvings)
    {
    case 0: return byteHalved<0>(frame, x, y, channel);
    case 1: return byteHalved<1>(frame, x, y, channel);
    case 2: return byteHalved<2>(frame, x, y, channel);
    case 3: return byteHalved<3>(frame, x, y, channel);
    default: break;
    }
    // The pixels in Z order: four neighbours first, so that a level's mean is complete with its fourth summand.
    uint32_t sums[Frame::kMostHalvings + 1]{};
    uint32_t const pixels = 1U << (2 * frame.halvings);
    for (uint32_t pixel = 0;;)
    {
        int32_t column = 0;
        int32_t row = 0;
        for (int32_t level = 0; level < frame.halvings; ++level)
        {
            column |= static_cast<int32_t>((pixel >> (2 * level)) & 1U) << level;
            row |= static_cast<int32_t>((pixel >> (2 * level + 1)) & 1U) << level;
        }
        uint32_t mean = frame.bytes[((int64_t{y} << frame.halvings) + row) * frame.pitch
            + ((int64_t{x} << frame.halvings) + column) * kChannels + channel];
        ++pixel;
        int32_t level = 0;
        for (uint32_t rest = pixel; level < frame.halvings && (rest & 3U) == 0; rest >>= 2, ++level)
        {
            mean = (sums[level] + mean + 2) >> 2;
            sums[level] = 0;
        }
        if (pixel == pixels)
        {
            return mean;
        }
        sums[level] += mean;
    }
}

//! Of a frame halved kHalvings times, or frame.halvings times for kAnyHalvings.
constexpr int32_t kAnyHalvings{-1};

template <int32_t kHalvings>
SPARSEVIT_HOST_DEVICE uint32_t byteAt(Frame const& frame, int32_t x, int32_t y, int32_t channel)
{
    if constexpr (kHalvings == kAnyHalvings)
    {
        return byteHalvedOften(frame, x, y, channel);
    }
    else
    {
        return byteHalved<kHalvings>(frame, x, y, channel);
    }
}

//! cv2.INTER_LINEAR: two neighbours along each axis, weights of 11 bits.
template <int32_t kHalvings>
struct LinearSampler
{
    struct Tap
    {
        int32_t first;
        int32_t second;
        int32_t firstWeight; //!< of 2048
        int32_t secondWeight;
    };

    Frame frame;
    Axis columns;
    Axis rows;

    SPARSEVIT_HOST_DEVICE Tap column(int32_t place) const
    {
        Tap tap = along(columns, place);
        // Only columns lose the weight of a neighbour beyond the edge; rows read the edge twice, which rounds twice.
        if (tap.first < 0 || tap.first >= columns.length - 1)
        {
            tap.firstWeight = 2048;
            tap.secondWeight = 0;
        }
        return onFrame(tap, columns);
    }

    SPARSEVIT_HOST_DEVICE Tap row(int32_t place) const
    {
        return onFrame(along(rows, place), rows);
    }

    SPARSEVIT_HOST_DEVICE uint8_t at(Tap const& column, Tap const& row, int32_t channel) const
    {
        uint32_t const upper = mixed(column, row.first, channel);
        uint32_t const lower = row.secondWeight == 0 ? 0 : mixed(column, row.second, channel);
        uint32_t const level = ((static_cast<uint32_t>(row.firstWeight) * (upper >> 4)) >> 16)
            + ((static_cast<uint32_t>(row.secondWeight) * (lower >> 4)) >> 16);
        return static_cast<uint8_t>((level + 2) >> 2);
    }

private:
    SPARSEVIT_HOST_DEVICE static Tap along(Axis const& axis, int32_t place)
    {
        auto const centre = static_cast<float>(rn::multiply(place + 0.5, axis.scale) - 0.5);
        float const below = floorf(centre);
        float const part = centre - below;
        auto const first = static_cast<int32_t>(below);
        return {first, first + 1, static_cast<int32_t>(rintf((1.0F - part) * 2048.0F)),
            static_cast<int32_t>(rintf(part * 2048.0F))};
    }

    SPARSEVIT_HOST_DEVICE static Tap onFrame(Tap tap, Axis const& axis)
    {
        int32_t const last = axis.length - 1;
        tap.first = tap.first < 0 ? 0 : tap.first > last ? last : tap.first;
        tap.second = tap.second < 0 ? 0 : tap.second > last ? last : tap.second;
        return tap;
    }

    //! Along a row; a level times 2048.
    SPARSEVIT_HOST_DEVICE uint32_t mixed(Tap const& column, int32_t y, int32_t channel) const
    {
        uint32_t const first = byteAt<kHalvings>(frame, column.first, y, channel);
        uint32_t const second = column.secondWeight == 0 ? 0 : byteAt<kHalvings>(frame, column.second, y, channel);
        return first * static_cast<uint32_t>(column.firstWeight) + second * static_cast<uint32_t>(column.secondWeight);
    }
};

//! cv2.INTER_AREA: the mean over the part of the frame that a pixel covers, pixels on its edge by their share.
template <int32_t kHalvings>
struct AreaSampler
{
    struct Tap
    {
        int32_t first; //!< whole pixels first to last - 1
        int32_t last;
        float before; //!< share of the pixel before them, and of the one after; 0: none
        float whole;
        float after;
    };

    Frame frame;
    Axis columns;
    Axis rows;

    SPARSEVIT_HOST_DEVICE Tap column(int32_t place) const
    {
        return along(columns, place);
    }

    SPARSEVIT_HOST_DEVICE Tap row(int32_t place) const
    {
        return along(rows, place);
    }

    SPARSEVIT_HOST_DEVICE uint8_t at(Tap const& column, Tap const& row, int32_t channel) const
    {
        float sum = 0.0F;
        if (row.before > 0.0F)
        {
            sum += rn::multiply(mixed(column, row.first - 1, channel), row.before);
        }
        for (int32_t y = row.first; y < row.last; ++y)
        {
            sum += rn::multiply(mixed(column, y, channel), row.whole);
        }
        if (row.after > 0.0F)
        {
            sum += rn::multiply(mixed(column, row.last, channel), row.after);
        }
        return saturated(sum);
    }

private:
    SPARSEVIT_HOST_DEVICE static Tap along(Axis const& axis, int32_t place)
    {
        constexpr double kNegligible{1e-3}; // OpenCV's
        double const start = rn::multiply(static_cast<double>(place), axis.scale);
        double const end = start + axis.scale;
        double const cell = fmin(axis.scale, axis.length - start);
        auto last = static_cast<int32_t>(floor(end));
        last = last < axis.length - 1 ? last : axis.length - 1;
        auto first = static_cast<int32_t>(ceil(start));
        first = first < last ? first : last;
        Tap tap{first, last, 0.0F, static_cast<float>(1.0 / cell), 0.0F};
        if (first - start > kNegligible)
        {
            tap.before = static_cast<float>((first - start) / cell);
        }
        if (end - last > kNegligible)
        {
            tap.after = static_cast<float>(fmin(fmin(end - last, 1.0), cell) / cell);
        }
        return tap;
    }

    SPARSEVIT_HOST_DEVICE float mixed(Tap const& column, int32_t y, int32_t channel) const
    {
        float sum = 0.0F;
        if (column.before > 0.0F)
        {
            sum += rn::multiply(read(column.first - 1, y, channel), column.before);
        }
        for (int32_t x = column.first; x < column.last; ++x)
        {
            sum += rn::multiply(read(x, y, channel), column.whole);
        }
        if (column.after > 0.0F)
        {
            sum += rn::multiply(read(column.last, y, channel), column.after);
        }
        return sum;
    }

    SPARSEVIT_HOST_DEVICE float read(int32_t x, int32_t y, int32_t channel) const
    {
        return static_cast<float>(byteAt<kHalvings>(frame, x, y, channel));
    }
};

//! cv2.INTER_AREA where a pixel covers a whole number of the frame's along both axes.
template <int32_t kHalvings>
struct MeanSampler
{
    using Tap = int32_t; //!< the first pixel

    Frame frame;
    Axis columns;
    Axis rows;

    SPARSEVIT_HOST_DEVICE Tap column(int32_t place) const
    {
        return place * (columns.length / columns.size);
    }

    SPARSEVIT_HOST_DEVICE Tap row(int32_t place) const
    {
        return place * (rows.length / rows.size);
    }

    SPARSEVIT_HOST_DEVICE uint8_t at(Tap column, Tap row, int32_t channel) const
    {
        int32_t const width = columns.length / columns.size;
        int32_t const height = rows.length / rows.size;
        int32_t sum = 0;
        for (int32_t y = row; y < row + height; ++y)
        {
            for (int32_t x = column; x < column + width; ++x)
            {
                sum += static_cast<int32_t>(byteAt<kHalvings>(frame, x, y, channel));
            }
        }
        return saturated(rn::multiply(static_cast<float>(sum), 1.0F / static_cast<float>(width * height)));
    }
};

} // namespace sparsevit
