// The index arithmetic as the kernels use it, compiled for the host with a C ABI for test_index.py.
#include "kernels/window_index.h"

using sparsevit::Divisor;
using sparsevit::WindowGrid;
using sparsevit::WindowVector;
using sparsevit::WindowVectors;

extern "C"
{

//! First dividend below `limit` (in steps of `step`) that the divisor splits wrongly, or -1.
int64_t firstWrongDivision(uint32_t divisor, uint32_t limit, uint32_t step)
{
    Divisor const by{divisor};
    for (uint64_t dividend = 0; dividend < limit; dividend += step)
    {
        auto rest = static_cast<uint32_t>(dividend);
        if (by.split(rest) != dividend / divisor || rest != dividend % divisor)
        {
            return static_cast<int64_t>(dividend);
        }
    }
    return -1;
}

int32_t windowCount(int32_t height, int32_t width, int32_t windowSize, int32_t shift)
{
    return WindowGrid{height, width, windowSize, shift}.windows();
}

//! addresses: (count, T) int32, of the windows first, first + 1, ...
void addressTable(
    int32_t height, int32_t width, int32_t windowSize, int32_t shift, int64_t first, int32_t count, int32_t* addresses)
{
    WindowGrid const grid{height, width, windowSize, shift};
    for (int32_t window = 0; window < count; ++window)
    {
        for (int32_t token = 0; token < grid.tokens(); ++token)
        {
            *addresses++ = grid.address(first + window, static_cast<uint32_t>(token));
        }
    }
}

//! The walk of the gather kernel over one sample, thread by thread; windows: (count, T, lanes) int32.
void gather(int32_t height, int32_t width, int32_t windowSize, int32_t shift, int32_t lanes, int32_t count,
    int64_t const* index, int32_t const* map, int32_t* windows)
{
    WindowGrid const grid{height, width, windowSize, shift};
    WindowVectors const vectors{grid, static_cast<uint32_t>(lanes)};
    for (int32_t i = 0; i < count * grid.tokens() * lanes; ++i)
    {
        WindowVector const at = vectors.at(static_cast<uint32_t>(i));
        int32_t const address = grid.address(index[at.position], at.token);
        windows[i] = address == sparsevit::kPadding ? 0 : map[address * lanes + static_cast<int32_t>(at.lane)];
    }
}
}
