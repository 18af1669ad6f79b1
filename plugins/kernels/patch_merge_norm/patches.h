// Where the parts of a merged token lie on the map. Plain C++ as well as CUDA.
#pragma once

#include "kernels/window_index.h"

namespace sparsevit
{

constexpr int32_t kBeyondMap{-1}; //!< offset of what is padding

//! The patches of 2x2 tokens of a batch of maps, row by row.
class MergeGrid
{
public:
    MergeGrid() = default;

    //! \param lanes Vectors or elements of a token; a row of a map has fewer than 2^30, and all maps fewer than 2^31
    //!     patches.
    MergeGrid(int64_t height, int64_t width, int32_t lanes)
        : mHeight{height}
        , mWidth{width}
        , mLanes{lanes}
        , mNextRow{static_cast<int32_t>(width) * lanes}
        , mByRows{static_cast<uint32_t>((height + 1) / 2)}
        , mByColumns{static_cast<uint32_t>((width + 1) / 2)}
    {
    }

    //! Where a patch begins, and how much of it is on the map.
    struct Patch
    {
        int64_t place; //!< of its first token's first lane, in x (B, H, W, lanes)
        bool isWide;   //!< there is a second column
        bool isHigh;   //!< there is a second row
    };

    SPARSEVIT_HOST_DEVICE Patch patch(uint32_t number) const
    {
        uint32_t column = number;
        uint32_t row = mByColumns.split(column);
        int64_t const sample = mByRows.split(row);
        int64_t const y = int64_t{row} * 2;
        int64_t const x = int64_t{column} * 2;
        return {((sample * mHeight + y) * mWidth + x) * mLanes, x + 1 < mWidth, y + 1 < mHeight};
    }

    //! How far behind the patch's place a lane of it (0 to 4 * lanes - 1: row, column, lane of a token) lies, or
    //! kBeyondMap.
    SPARSEVIT_HOST_DEVICE int32_t offset(Patch const& patch, int32_t lane) const
    {
        bool const isLower = lane >= 2 * mLanes;
        int32_t const along = isLower ? lane - 2 * mLanes : lane;
        bool const isReal = (patch.isHigh || !isLower) && (patch.isWide || along < mLanes);
        return isReal ? (isLower ? mNextRow : 0) + along : kBeyondMap;
    }

private:
    int64_t mHeight{1};
    int64_t mWidth{1};
    int32_t mLanes{1};
    int32_t mNextRow{1};
    Divisor mByRows;
    Divisor mByColumns;
};

} // namespace sparsevit
