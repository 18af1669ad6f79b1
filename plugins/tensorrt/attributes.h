// What every window node carries: the token map, the window, the shift. Also the checks of tensors against it.
#pragma once

#include "kernels/window_index.h"

#include <NvInferRuntime.h>

#include <array>
#include <cstdint>

namespace sparsevit
{

struct WindowAttributes
{
    static constexpr int32_t kRequired{4}; //!< what every node has; the rest is 0 unless given
    static constexpr int32_t kCount{5};
    static constexpr std::array<char const*, kCount> kNames{"height", "width", "window_size", "shift", "in_place"};

    std::array<int32_t, kCount> values{}; //!< in the order of kNames

    //! \throw std::invalid_argument for a required field that is missing and for one that is not one 32-bit integer.
    //! Other fields are ignored.
    static WindowAttributes read(nvinfer1::PluginFieldCollection const& given);

    //! The field of kNames[i], pointing at the value if there are values.
    static nvinfer1::PluginField field(int32_t i, WindowAttributes const* attributes);

    //! \throw std::invalid_argument unless height, width and window_size are positive, the padded map has less than
    //! 2^31 tokens, shift is 0 or window_size / 2, and in_place is 0 or 1.
    void validate() const;

    int32_t height() const
    {
        return values[0];
    }
    int32_t width() const
    {
        return values[1];
    }
    int32_t windowSize() const
    {
        return values[2];
    }
    int32_t shift() const
    {
        return values[3];
    }
    bool inPlace() const
    {
        return values[4] != 0;
    }
    WindowGrid grid() const
    {
        return WindowGrid{height(), width(), windowSize(), shift()};
    }
};

//! The checks below take -1 for a size that is not known yet. \throw std::invalid_argument with the sizes seen.

//! x: (B, H, W, C) of the attributes' height and width, at least one channel.
void checkMap(WindowAttributes const& attributes, nvinfer1::Dims const& x);
//! index: (B, k), no more windows than the map has.
void checkIndex(WindowAttributes const& attributes, nvinfer1::Dims const& x, nvinfer1::Dims const& index);
//! windows: (B, k, T, C).
void checkWindows(WindowAttributes const& attributes, nvinfer1::Dims const& x, nvinfer1::Dims const& windows,
    nvinfer1::Dims const& index);
//! The same as rows of tokens: (B, k * T, C).
void checkTokens(char const* name, WindowAttributes const& attributes, nvinfer1::Dims const& x,
    nvinfer1::Dims const& tokens, nvinfer1::Dims const& index);
//! values: (C).
void checkChannels(char const* name, nvinfer1::Dims const& x, nvinfer1::Dims const& values);

} // namespace sparsevit
