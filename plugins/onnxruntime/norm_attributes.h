// What the nodes with a LayerNorm share: its epsilon, and the checks of its weights' shapes.
#pragma once

#include "onnxruntime/attributes.h"
#include "onnxruntime/tensors.h"

namespace sparsevit
{
namespace ort
{

//! Reads and checks it.
inline bool readEpsilon(Attributes const& attributes, float& epsilon, Text& error)
{
    if (!attributes.read("epsilon", epsilon, error))
    {
        return false;
    }
    bool const isNegative = !(epsilon >= 0.0F); // NaN is none
    if (isNegative)
    {
        error << "epsilon is " << double{epsilon} << ", it must not be negative";
    }
    return !isNegative;
}

//! Whether two shapes can be equal.
inline bool agree(Shape const& first, Shape const& second)
{
    bool same = first.rank == second.rank;
    for (int32_t i = 0; i < first.rank && same; ++i)
    {
        same = agree(first[i], second[i]);
    }
    return same;
}

//! \param x (B, H, W, C), as `x` in the error.
inline bool checkMap(Shape const& x, Text& error)
{
    bool const fits = x.rank == 4 && x[1] != 0 && x[2] != 0 && x[3] != 0;
    if (!fits)
    {
        error << "x has the shape " << x << ", expected (batch, height, width, channels)";
    }
    return fits;
}

//! \param weight (factor * C) for x (..., C), `name` in the error.
inline bool checkRow(Shape const& x, Shape const& weight, char const* name, int64_t factor, Text& error)
{
    bool const fits = weight.rank == 1 && agree(weight[0], times(x[x.rank - 1], factor));
    if (!fits)
    {
        error << name << " has the shape " << weight << " for x " << x << ", expected (";
        if (factor != 1)
        {
            error << factor << " * ";
        }
        error << "channels)";
    }
    return fits;
}

} // namespace ort
} // namespace sparsevit
