// Where the tokens of a window lie on a token map: the only arithmetic that the window kernels share.
//
// Plain C++ as well as CUDA, so that it is tested on the host. Maps are (height, width), row-major; they are padded at
// the bottom and right to whole windows, windows are numbered row by row, and shifted windows tile the padded map
// rolled by -shift (docs/semantics.md).
#pragma once

#include "kernels/host_device.h"

#include <cstdint>

namespace sparsevit
{

constexpr int32_t kPadding{-1}; //!< Address of a token that lies outside the map.

//! Division by a number that is fixed before launch: one multiplication and a shift, exact for dividends below 2^31.
//! Granlund and Montgomery, "Division by Invariant Integers using Multiplication", PLDI 1994, figure 4.1.
class Divisor
{
public:
    Divisor() = default;

    //! \param divisor 1 to 2^31.
    explicit Divisor(uint32_t divisor)
        : mDivisor{divisor}
    {
        while ((uint64_t{1} << mShift) < divisor)
        {
            ++mShift;
        }
        uint64_t const excess = (uint64_t{1} << mShift) - divisor;
        mMultiplier = static_cast<uint32_t>((excess << 32) / divisor + 1);
    }

    SPARSEVIT_HOST_DEVICE uint32_t quotient(uint32_t dividend) const
    {
        auto const high = static_cast<uint32_t>((static_cast<uint64_t>(mMultiplier) * dividend) >> 32);
        return (high + dividend) >> mShift;
    }

    //! Splits the dividend: returns the quotient and leaves the rest in it.
    SPARSEVIT_HOST_DEVICE uint32_t split(uint32_t& dividend) const
    {
        uint32_t const result = quotient(dividend);
        dividend -= result * mDivisor;
        return result;
    }

private:
    uint32_t mDivisor{1};
    uint32_t mMultiplier{1};
    uint32_t mShift{0};
};

//! The windows of one token map.
class WindowGrid
{
public:
    WindowGrid() = default;

    //! \param height, width Token map, at least 1; the padded map has less than 2^31 tokens.
    //! \param windowSize Tokens along one side of a window, at least 1.
    //! \param shift 0 to windowSize - 1.
    WindowGrid(int32_t height, int32_t width, int32_t windowSize, int32_t shift)
        : mHeight{height}
        , mWidth{width}
        , mWindowSize{windowSize}
        , mShift{shift}
        , mRows{(height - 1) / windowSize + 1}
        , mColumns{(width - 1) / windowSize + 1}
        , mByColumns{static_cast<uint32_t>(mColumns)}
        , mByWindowSize{static_cast<uint32_t>(windowSize)}
    {
    }

    //! Number of windows nW; ids are 0 to nW - 1.
    SPARSEVIT_HOST_DEVICE int32_t windows() const
    {
        return mRows * mColumns;
    }

    //! Tokens in a window, T.
    SPARSEVIT_HOST_DEVICE int32_t tokens() const
    {
        return mWindowSize * mWindowSize;
    }

    //! Tokens on the map.
    SPARSEVIT_HOST_DEVICE int64_t area() const
    {
        return static_cast<int64_t>(mHeight) * mWidth;
    }

    //! Address (row * width + column) of token `token` (0 to T - 1) of window `window`, or kPadding.
    //! A window id that does not exist has nothing but padding.
    SPARSEVIT_HOST_DEVICE int32_t address(int64_t window, uint32_t token) const
    {
        if (window < 0 || window >= windows())
        {
            return kPadding;
        }
        auto windowColumn = static_cast<uint32_t>(window);
        uint32_t const windowRow = mByColumns.split(windowColumn);
        uint32_t tokenColumn = token;
        uint32_t const tokenRow = mByWindowSize.split(tokenColumn);
        int32_t const row = onMap(windowRow, tokenRow, mRows);
        int32_t const column = onMap(windowColumn, tokenColumn, mColumns);
        return row < mHeight && column < mWidth ? row * mWidth + column : kPadding;
    }

private:
    //! Row (or column) of the padded map at a place in a window; the shift wraps around once at most.
    SPARSEVIT_HOST_DEVICE int32_t onMap(uint32_t window, uint32_t token, int32_t windows) const
    {
        int32_t const place = static_cast<int32_t>(window) * mWindowSize + static_cast<int32_t>(token) + mShift;
        int32_t const padded = windows * mWindowSize;
        return place < padded ? place : place - padded;
    }

    int32_t mHeight{0};
    int32_t mWidth{0};
    int32_t mWindowSize{1};
    int32_t mShift{0};
    int32_t mRows{0};
    int32_t mColumns{0};
    Divisor mByColumns;
    Divisor mByWindowSize;
};

//! One vector of a list of windows: which window of the list, which of its tokens, which vector of that token.
struct WindowVector
{
    uint32_t position;
    uint32_t token;
    uint32_t lane;
};

//! A list of windows (k, T, C) seen as a row of equal vectors, `lanes` of them per token.
class WindowVectors
{
public:
    WindowVectors() = default;

    WindowVectors(WindowGrid const& grid, uint32_t lanes)
        : mByLanes{lanes}
        , mByTokens{static_cast<uint32_t>(grid.tokens())}
    {
    }

    //! \param vector Below 2^31.
    SPARSEVIT_HOST_DEVICE WindowVector at(uint32_t vector) const
    {
        WindowVector result{};
        result.lane = vector;
        result.token = mByLanes.split(result.lane);
        result.position = mByTokens.split(result.token);
        return result;
    }

private:
    Divisor mByLanes;
    Divisor mByTokens;
};

} // namespace sparsevit
