// What both kernels of the window attention are given.
#pragma once

#include "kernels/element_cast.cuh"

namespace sparsevit
{

template <Element kElement>
struct AttentionArrays
{
    using Type = typename Cell<kElement>::Type;

    Type const* qkv;
    Type const* qkvBias;
    Type const* positionBias;
    Type* output;
    WindowIds index;
    int32_t const* kind;
    int64_t windows;
    int64_t kinds;
    int64_t channels;
    Divisor byHeads;
    int32_t heads;
    int32_t tokens;

    //! The position bias (t, t) of a head in a window of the list.
    __device__ Type const* biasOf(int64_t position, int32_t head) const
    {
        int64_t const window = index.at(position);
        int64_t const listed = window >= 0 && window < windows ? kind[window] : 0;
        int64_t const known = listed >= 0 && listed < kinds ? listed : 0;
        return positionBias + (known * heads + head) * (int64_t{tokens} * tokens);
    }
};

constexpr float kLog2OfE{1.44269504F};

//! Largest value so far of rows that are met piece by piece, such that a difference from it is a number: rows that have
//! met nothing but minus infinity are compared with 0.
__device__ inline float finiteOr0(float most)
{
    return most == -INFINITY ? 0.0F : most;
}

} // namespace sparsevit
