// What the window nodes share: the token map and its windows, and the checks of shapes against them.
#pragma once

#include "kernels/window_index.h"
#include "onnxruntime/attributes.h"
#include "onnxruntime/tensors.h"

namespace sparsevit
{
namespace ort
{

struct WindowAttributes
{
    int32_t height{0};
    int32_t width{0};
    int32_t windowSize{0};
    int32_t shift{0};

    //! Reads and checks them.
    bool read(Attributes const& attributes, Text& error);

    WindowGrid grid() const
    {
        return {height, width, windowSize, shift};
    }

    //! \param x (B, height, width, C).
    bool checkMap(Shape const& x, Text& error) const;
    //! \param index (B, k) for k windows at most.
    bool checkIndex(Shape const& x, Shape const& index, Text& error) const;
    //! \param windows (B, k, T, C).
    bool checkWindows(Shape const& x, Shape const& windows, Shape const& index, Text& error) const;
};

} // namespace ort
} // namespace sparsevit
