#include "tensorrt/attributes.h"

#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace sparsevit
{
namespace
{

using nvinfer1::Dims;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

std::string str(Dims const& dims)
{
    std::string text = "(";
    for (int32_t i = 0; i < dims.nbDims; ++i)
    {
        text += (i == 0 ? "" : ", ") + std::to_string(dims.d[i]);
    }
    return text + ")";
}

bool agree(int64_t first, int64_t second)
{
    return first < 0 || second < 0 || first == second;
}

void require(bool holds, std::string const& message)
{
    if (!holds)
    {
        throw std::invalid_argument(message);
    }
}

int32_t integer(PluginField const& field)
{
    std::string const name = field.name;
    int64_t value = 0;
    if (field.type == PluginFieldType::kINT64 && field.length == 1 && field.data != nullptr)
    {
        std::memcpy(&value, field.data, sizeof(int64_t));
    }
    else if (field.type == PluginFieldType::kINT32 && field.length == 1 && field.data != nullptr)
    {
        int32_t narrow = 0;
        std::memcpy(&narrow, field.data, sizeof(int32_t));
        value = narrow;
    }
    else
    {
        throw std::invalid_argument("attribute '" + name + "' is not one integer; export the model again");
    }
    bool const fits = value >= std::numeric_limits<int32_t>::min() && value <= std::numeric_limits<int32_t>::max();
    require(fits, "attribute '" + name + "' is " + std::to_string(value) + ", beyond 32 bits; export the model again");
    return static_cast<int32_t>(value);
}

} // namespace

WindowAttributes WindowAttributes::read(nvinfer1::PluginFieldCollection const& fields)
{
    WindowAttributes result;
    std::array<bool, kCount> found{};
    for (int32_t i = 0; i < fields.nbFields; ++i)
    {
        for (size_t j = 0; j < kNames.size(); ++j)
        {
            if (std::strcmp(fields.fields[i].name, kNames[j]) == 0)
            {
                result.values[j] = integer(fields.fields[i]);
                found[j] = true;
            }
        }
    }
    for (size_t j = 0; j < kRequired; ++j)
    {
        require(found[j], std::string{"attribute '"} + kNames[j] + "' is missing; export the model again");
    }
    return result;
}

void WindowAttributes::validate() const
{
    for (size_t i = 0; i < 3; ++i)
    {
        require(
            values[i] >= 1, std::string{kNames[i]} + " is " + std::to_string(values[i]) + ", it must be at least 1");
    }
    auto const padded = [this](int32_t size)
    {
        return (int64_t{size} + windowSize() - 1) / windowSize() * windowSize();
    };
    int64_t const limit = std::numeric_limits<int32_t>::max();
    require(padded(height()) <= limit / padded(width()) && windowSize() <= limit / windowSize(),
        "a map of " + std::to_string(height()) + "x" + std::to_string(width()) + " tokens in windows of "
            + std::to_string(windowSize()) + " is beyond 32-bit addresses");
    require(shift() == 0 || shift() == windowSize() / 2,
        "shift is " + std::to_string(shift())
            + ", it must be 0 or window_size / 2 = " + std::to_string(windowSize() / 2));
    require(values[4] == 0 || values[4] == 1, "in_place is " + std::to_string(values[4]) + ", it must be 0 or 1");
}

void checkMap(WindowAttributes const& attributes, Dims const& x)
{
    require(x.nbDims == 4 && agree(x.d[1], attributes.height()) && agree(x.d[2], attributes.width()) && x.d[3] != 0,
        "x has the shape " + str(x) + ", the node was exported for (batch, " + std::to_string(attributes.height())
            + ", " + std::to_string(attributes.width()) + ", channels); export the model for this size");
}

void checkIndex(WindowAttributes const& attributes, Dims const& x, Dims const& index)
{
    int32_t const windows = attributes.grid().windows();
    require(index.nbDims == 2 && agree(index.d[0], x.d[0]) && index.d[1] <= windows,
        "index has the shape " + str(index) + " for x " + str(x) + ", expected (batch, at most "
            + std::to_string(windows) + " windows); lower `keep`");
}

void checkWindows(WindowAttributes const& attributes, Dims const& x, Dims const& windows, Dims const& index)
{
    int32_t const tokens = attributes.grid().tokens();
    require(windows.nbDims == 4 && agree(windows.d[0], x.d[0]) && agree(windows.d[1], index.d[1])
            && agree(windows.d[2], tokens) && agree(windows.d[3], x.d[3]),
        "windows has the shape " + str(windows) + " for x " + str(x) + " and index " + str(index)
            + ", expected (batch, kept windows, " + std::to_string(tokens) + ", channels)");
}

} // namespace sparsevit
