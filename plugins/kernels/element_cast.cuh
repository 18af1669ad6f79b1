// Elements of maps and windows as they lie in memory, and as the floats that kernels count with.
#pragma once

#include "kernels/element.h"
#include "kernels/launch.cuh"

#include <cuda_fp16.h>

namespace sparsevit
{

//! How an element lies in memory.
template <Element kElement>
struct Cell
{
    using Type = uint16_t;
};
template <>
struct Cell<Element::kFloat>
{
    using Type = float;
};

template <Element kElement>
__device__ float toFloat(typename Cell<kElement>::Type cell)
{
    if constexpr (kElement == Element::kHalf)
    {
        return __half2float(__ushort_as_half(cell));
    }
    else if constexpr (kElement == Element::kBfloat16)
    {
        return __uint_as_float(uint32_t{cell} << 16);
    }
    else
    {
        return cell;
    }
}

//! Rounds to nearest, ties to even.
template <Element kElement>
__device__ typename Cell<kElement>::Type fromFloat(float value)
{
    if constexpr (kElement == Element::kHalf)
    {
        return __half_as_ushort(__float2half_rn(value));
    }
    else if constexpr (kElement == Element::kBfloat16)
    {
        uint32_t const bits = __float_as_uint(value);
        bool const isNan = value != value; // rounding its bits up could leave an infinity
        return static_cast<uint16_t>(isNan ? 0x7fffU : (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
    }
    else
    {
        return value;
    }
}

//! Two floats as a pair of halves or bfloat16, the first in the low bits.
template <Element kElement>
__device__ uint32_t pairOf(float low, float high)
{
    static_assert(kElement != Element::kFloat);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint32_t pair;
    if constexpr (kElement == Element::kHalf)
    {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    }
    else
    {
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    }
    return pair;
#else
    return uint32_t{fromFloat<kElement>(low)} | uint32_t{fromFloat<kElement>(high)} << 16;
#endif
}

//! Elements in a vector of memory: as many as it has bytes for.
template <Element kElement, typename Vector>
struct Lanes
{
    static constexpr int32_t kCount{static_cast<int32_t>(sizeof(Vector) / sizeof(typename Cell<kElement>::Type))};
};

//! A vector's elements as floats.
template <Element kElement>
__device__ void unpack(uint4 vector, float (&values)[Lanes<kElement, uint4>::kCount])
{
    uint32_t const words[4]{vector.x, vector.y, vector.z, vector.w};
#pragma unroll
    for (int32_t i = 0; i < 4; ++i)
    {
        if constexpr (kElement == Element::kFloat)
        {
            values[i] = __uint_as_float(words[i]);
        }
        else
        {
            values[2 * i] = toFloat<kElement>(static_cast<uint16_t>(words[i] & 0xffffU));
            values[2 * i + 1] = toFloat<kElement>(static_cast<uint16_t>(words[i] >> 16));
        }
    }
}

template <Element kElement>
__device__ void unpack(typename Cell<kElement>::Type cell, float (&values)[1])
{
    values[0] = toFloat<kElement>(cell);
}

//! The vector of these elements, each rounded.
template <Element kElement>
__device__ void pack(float const (&values)[Lanes<kElement, uint4>::kCount], uint4& vector)
{
    uint32_t words[4];
#pragma unroll
    for (int32_t i = 0; i < 4; ++i)
    {
        if constexpr (kElement == Element::kFloat)
        {
            words[i] = __float_as_uint(values[i]);
        }
        else
        {
            words[i] = pairOf<kElement>(values[2 * i], values[2 * i + 1]);
        }
    }
    vector = uint4{words[0], words[1], words[2], words[3]};
}

template <Element kElement>
__device__ void pack(float const (&values)[1], typename Cell<kElement>::Type& cell)
{
    cell = fromFloat<kElement>(values[0]);
}

//! A list of window ids of either type. The kernels that take it read few of them: a branch costs less than a copy of
//! each kernel.
struct WindowIds
{
    void const* ids;
    bool isWide; //!< int64, else int32

    __device__ int64_t at(int64_t position) const
    {
        return isWide ? static_cast<int64_t const*>(ids)[position] : static_cast<int32_t const*>(ids)[position];
    }
};

//! Calls `function` with the element type as a constant: `decltype(type)::kValue`.
template <Element kElement>
struct ElementConstant
{
    static constexpr Element kValue{kElement};
};

template <typename Function>
cudaError_t withElement(Element element, Function&& function)
{
    switch (element)
    {
    case Element::kFloat: return function(ElementConstant<Element::kFloat>{});
    case Element::kHalf: return function(ElementConstant<Element::kHalf>{});
    case Element::kBfloat16: return function(ElementConstant<Element::kBfloat16>{});
    }
    return cudaErrorInvalidValue;
}

} // namespace sparsevit
