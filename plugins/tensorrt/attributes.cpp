#include "tensorrt/attributes.h"

#include "tensorrt/fields.h"

#include <limits>
#include <string>

namespace sparsevit
{

using fields::agree;
using fields::integer;
using fields::require;
using fields::str;
using nvinfer1::Dims;

WindowAttributes WindowAttributes::read(nvinfer1::PluginFieldCollection const& given)
{
    WindowAttributes result;
    for (size_t j = 0; j < kNames.size(); ++j)
    {
        bool const isNeeded = j < static_cast<size_t>(kRequired);
        nvinfer1::PluginField const* const field =
            isNeeded ? &fields::required(given, kNames[j]) : fields::find(given, kNames[j]);
        if (field != nullptr)
        {
            result.values[j] = integer(*field);
        }
    }
    return result;
}

nvinfer1::PluginField WindowAttributes::field(int32_t i, WindowAttributes const* attributes)
{
    auto const at = static_cast<size_t>(i);
    int32_t const* const value = attributes == nullptr ? nullptr : &attributes->values[at];
    return {kNames[at], value, nvinfer1::PluginFieldType::kINT32, 1};
}

void WindowAttributes::validate() const
{
    for (size_t i = 0; i < 3; ++i)
    {
        require(values[i] >= 1,
            [&] { return std::string{kNames[i]} + " is " + std::to_string(values[i]) + ", it must be at least 1"; });
    }
    auto const padded = [this](int32_t size)
    {
        return (int64_t{size} + windowSize() - 1) / windowSize() * windowSize();
    };
    int64_t const limit = std::numeric_limits<int32_t>::max();
    require(padded(height()) <= limit / padded(width()) && windowSize() <= limit / windowSize(),
        [&]
        {
            return "a map of " + std::to_string(height()) + "x" + std::to_string(width()) + " tokens in windows of "
                + std::to_string(windowSize()) + " is beyond 32-bit addresses";
        });
    require(shift() == 0 || shift() == windowSize() / 2,
        [&]
        {
            return "shift is " + std::to_string(shift())
                + ", it must be 0 or window_size / 2 = " + std::to_string(windowSize() / 2);
        });
    require(values[4] == 0 || values[4] == 1,
        [&] { return "in_place is " + std::to_string(values[4]) + ", it must be 0 or 1"; });
}

void checkMap(WindowAttributes const& attributes, Dims const& x)
{
    require(x.nbDims == 4 && agree(x.d[1], attributes.height()) && agree(x.d[2], attributes.width()) && x.d[3] != 0,
        [&]
        {
            return "x has the shape " + str(x) + ", the node was exported for (batch, "
                + std::to_string(attributes.height()) + ", " + std::to_string(attributes.width())
                + ", channels); export the model for this size";
        });
}

void checkIndex(WindowAttributes const& attributes, Dims const& x, Dims const& index)
{
    int32_t const windows = attributes.grid().windows();
    require(index.nbDims == 2 && agree(index.d[0], x.d[0]) && index.d[1] <= windows,
        [&]
        {
            return "index has the shape " + str(index) + " for x " + str(x) + ", expected (batch, at most "
                + std::to_string(windows) + " windows); lower `keep`";
        });
}

void checkWindows(WindowAttributes const& attributes, Dims const& x, Dims const& windows, Dims const& index)
{
    int32_t const tokens = attributes.grid().tokens();
    require(windows.nbDims == 4 && agree(windows.d[0], x.d[0]) && agree(windows.d[1], index.d[1])
            && agree(windows.d[2], tokens) && agree(windows.d[3], x.d[3]),
        [&]
        {
            return "windows has the shape " + str(windows) + " for x " + str(x) + " and index " + str(index)
                + ", expected (batch, kept windows, " + std::to_string(tokens) + ", channels)";
        });
}

void checkTokens(
    char const* name, WindowAttributes const& attributes, Dims const& x, Dims const& tokens, Dims const& index)
{
    int64_t const perWindow = attributes.grid().tokens();
    require(tokens.nbDims == 3 && agree(tokens.d[0], x.d[0])
            && agree(tokens.d[1], index.d[1] < 0 ? -1 : index.d[1] * perWindow) && agree(tokens.d[2], x.d[3]),
        [&]
        {
            return std::string{name} + " has the shape " + str(tokens) + " for x " + str(x) + " and index " + str(index)
                + ", expected (batch, kept windows * " + std::to_string(perWindow) + ", channels)";
        });
}

void checkChannels(char const* name, Dims const& x, Dims const& values)
{
    require(values.nbDims == 1 && agree(values.d[0], x.d[3]), [&]
        { return std::string{name} + " has the shape " + str(values) + " for x " + str(x) + ", expected (channels)"; });
}

} // namespace sparsevit
