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
        return biasOfWindow(index.at(position), head);
    }

    //! The same in a window of the map.
    __device__ Type const* biasOfWindow(int64_t window, int32_t head) const
    {
        int64_t const listed = window >= 0 && window < windows ? kind[window] : 0;
        int64_t const known = listed >= 0 && listed < kinds ? listed : 0;
        return positionBias + (known * heads + head) * (int64_t{tokens} * tokens);
    }
};

constexpr float kLog2OfE{1.44269504F};

//! 2^x as exp2f answers, but 0 where that is no normal number: one instruction, not six.
__device__ inline float powerOf2(float x)
{
#ifdef __CUDA_ARCH__
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
#else
    return exp2f(x);
#endif
}

//! 1 / x to the last bit or the one before it.
__device__ inline float inverseOf(float x)
{
#ifdef __CUDA_ARCH__
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(x));
    return inverse;
#else
    return 1.0F / x;
#endif
}

//! Largest value so far of rows that are met piece by piece, such that a difference from it is a number: rows that have
//! met nothing but minus infinity are compared with 0.
__device__ inline float finiteOr0(float most)
{
    return most == -INFINITY ? 0.0F : most;
}

} // namespace sparsevit
