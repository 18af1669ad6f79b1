#include "onnxruntime/window_attributes.h"

namespace sparsevit
{
namespace ort
{

bool WindowAttributes::read(Attributes const& attributes, Text& error)
{
    if (!attributes.read("height", height, error) || !attributes.read("width", width, error)
        || !attributes.read("window_size", windowSize, error) || !attributes.read("shift", shift, error))
    {
        return false;
    }
    if (height < 1 || width < 1 || windowSize < 1)
    {
        error << "height is " << int64_t{height} << ", width " << int64_t{width} << ", window_size "
              << int64_t{windowSize} << "; they must be at least 1";
        return false;
    }
    auto const padded = [this](int32_t size)
    {
        return (int64_t{size} + windowSize - 1) / windowSize * windowSize;
    };
    if (padded(height) > INT32_MAX / padded(width) || windowSize > INT32_MAX / windowSize)
    {
        error << "a map of " << int64_t{height} << "x" << int64_t{width} << " tokens in windows of "
              << int64_t{windowSize} << " is beyond 32-bit addresses";
        return false;
    }
    if (shift != 0 && shift != windowSize / 2)
    {
        error << "shift is " << int64_t{shift} << ", it must be 0 or window_size / 2 = " << int64_t{windowSize / 2};
        return false;
    }
    return true;
}

bool WindowAttributes::checkMap(Shape const& x, Text& error) const
{
    if (x.rank == 4 && agree(x[1], height) && agree(x[2], width) && x[3] != 0)
    {
        return true;
    }
    error << "x has the shape " << x << ", the node was exported for (batch, " << int64_t{height} << ", "
          << int64_t{width} << ", channels); export the model for this size";
    return false;
}

bool WindowAttributes::checkIndex(Shape const& x, Shape const& index, Text& error) const
{
    int64_t const windows = grid().windows();
    if (index.rank == 2 && agree(index[0], x[0]) && index[1] <= windows)
    {
        return true;
    }
    error << "index has the shape " << index << " for x " << x << ", expected (batch, at most " << windows
          << " windows); lower `keep`";
    return false;
}

bool WindowAttributes::checkWindows(Shape const& x, Shape const& windows, Shape const& index, Text& error) const
{
    int64_t const tokens = grid().tokens();
    if (windows.rank == 4 && agree(windows[0], x[0]) && agree(windows[1], index[1]) && agree(windows[2], tokens)
        && agree(windows[3], x[3]))
    {
        return true;
    }
    error << "windows has the shape " << windows << " for x " << x << " and index " << index
          << ", expected (batch, kept windows, " << tokens << ", channels)";
    return false;
}

bool WindowAttributes::checkTokens(
    Shape const& x, Shape const& tokens, Shape const& index, char const* name, Text& error) const
{
    Shape const expected = this->tokens(x, index);
    if (tokens.rank == 3 && agree(tokens[0], expected[0]) && agree(tokens[1], expected[1])
        && agree(tokens[2], expected[2]))
    {
        return true;
    }
    error << name << " has the shape " << tokens << " for x " << x << " and index " << index << ", expected " << expected;
    return false;
}

bool checkChannels(Shape const& x, Shape const& weight, char const* name, Text& error)
{
    if (weight.rank == 1 && agree(weight[0], x[3]))
    {
        return true;
    }
    error << name << " has the shape " << weight << " for x " << x << ", expected (channels)";
    return false;
}

} // namespace ort
} // namespace sparsevit
