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
    //! \param tokens (B, k * T, C), `name` in the error.
    bool checkTokens(Shape const& x, Shape const& tokens, Shape const& index, char const* name, Text& error) const;

    //! The shape of the listed windows' tokens, (B, k * T, C).
    Shape tokens(Shape const& x, Shape const& index) const
    {
        return {x[0], times(index[1], grid().tokens()), x[3]};
    }
};

//! \param weight (C) for x of so many channels, `name` in the error.
bool checkChannels(Shape const& x, Shape const& weight, char const* name, Text& error);

} // namespace ort
} // namespace sparsevit
