// Where the bytes of a patch lie in an image. Plain C++ as well as CUDA.
#pragma once

#include "kernels/window_index.h"

namespace sparsevit
{

constexpr int32_t kPatchSide{4};                       //!< pixels
constexpr int32_t kPatchRow{3 * kPatchSide};           //!< bytes of a patch in a row of the image
constexpr int32_t kPatchBytes{kPatchRow * kPatchSide}; //!< of a patch
constexpr int64_t kNoByte{-1};                         //!< place of a byte of the padding

//! The patches of a batch of images, row by row.
class PatchGrid
{
public:
    PatchGrid() = default;

    //! \param height, width Pixels of an image. \param rows, columns Patches of it, padded, fewer than 2^31 in all.
    PatchGrid(int64_t height, int64_t width, int32_t rows, int32_t columns)
        : mHeight{height}
        , mWidth{width}
        , mByRows{static_cast<uint32_t>(rows)}
        , mByColumns{static_cast<uint32_t>(columns)}
    {
    }

    //! Where a patch begins, and how much of the image there is from there on.
    struct Corner
    {
        int64_t byte;  //!< of the images (B, H, W, 3)
        int64_t rows;  //!< none or fewer where the patch is in the padding
        int64_t bytes; //!< in a row; the same
    };

    SPARSEVIT_HOST_DEVICE Corner corner(uint32_t patch) const
    {
        uint32_t column = patch;
        uint32_t row = mByColumns.split(column);
        uint32_t const sample = mByRows.split(row);
        int64_t const y = int64_t{row} * kPatchSide;
        int64_t const x = int64_t{column} * kPatchRow;
        return {(sample * mHeight + y) * rowBytes() + x, mHeight - y, rowBytes() - x};
    }

    //! Bytes of a row of the images.
    SPARSEVIT_HOST_DEVICE int64_t rowBytes() const
    {
        return 3 * mWidth;
    }

    //! Place of a byte (0 to 47: row, column, channel) of a patch in the images, or kNoByte.
    SPARSEVIT_HOST_DEVICE int64_t place(uint32_t patch, int32_t byte) const
    {
        Corner const at = corner(patch);
        int32_t const y = byte / kPatchRow;
        int32_t const x = byte % kPatchRow;
        return y < at.rows && x < at.bytes ? at.byte + y * rowBytes() + x : kNoByte;
    }

private:
    int64_t mHeight{1};
    int64_t mWidth{1};
    Divisor mByRows;
    Divisor mByColumns;
};

} // namespace sparsevit
