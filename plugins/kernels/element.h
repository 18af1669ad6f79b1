// Floating-point types of maps and windows.
#pragma once

#include <cstdint>

namespace sparsevit
{

enum class Element : int32_t
{
    kFloat = 0,
    kHalf = 1,
    kBfloat16 = 2,
};

} // namespace sparsevit
