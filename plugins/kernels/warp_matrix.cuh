// Products of small matrices by the 32 lanes of a warp, and how lanes load their parts of them from shared memory. All
// lanes of a warp call together. Which lane holds which element is laid down in the PTX ISA ("Matrix fragments for
// mma.m16n8k16", "ldmatrix"): with group = lane / 4 and pair = 2 * (lane % 4), rows and columns of a
//   16x16 a: word 0 (group, pair), 1 (group + 8, pair), 2 (group, pair + 8), 3 (group + 8, pair + 8)
//   16x8 b:  word 0 (pair, group), 1 (pair + 8, group); two elements of a word follow each other along its pair
//   16x8 c:  0, 1 (group, pair) and the next column; 2, 3 those of row group + 8
// Tests run the same kernels on the host with products made element by element from what the lanes hold.
#pragma once

#include "kernels/element_cast.cuh"

#ifndef __CUDACC__
#include <cuda_warp_matrix.h> // the host's
#endif

namespace sparsevit
{

constexpr int32_t kWarpLanes{32};

#ifdef __CUDACC__

//! Four 8x8 matrices of 2-byte elements: lane i names row i % 8 of matrix i / 8, 16 bytes in shared memory, and gets of
//! each matrix its row lane / 4, elements 2 * (lane % 4) and the next.
__device__ inline void loadMatrices(uint32_t (&words)[4], uint4 const* row)
{
    auto const address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
        : "r"(address)
        : "memory");
}

//! The same of the matrices' transposes.
__device__ inline void loadTransposed(uint32_t (&words)[4], uint4 const* row)
{
    auto const address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
        : "r"(address)
        : "memory");
}

//! c += a b, sums in float.
template <Element kElement>
__device__ void multiplyAdd(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
{
    static_assert(kElement != Element::kFloat);
#if __CUDA_ARCH__ >= 800
    if constexpr (kElement == Element::kHalf)
    {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
    else
    {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
#else
    // Before compute capability 8.0 there is no such product: right, and slow.
    auto const lane = static_cast<int32_t>(threadIdx.x) % kWarpLanes;
    auto const element = [](uint32_t word, int32_t which)
    {
        return toFloat<kElement>(static_cast<uint16_t>(which == 0 ? word & 0xffffU : word >> 16));
    };
    for (int32_t k = 0; k < 16; ++k)
    {
        int32_t const holder = k % 8 / 2;
        int32_t const upper = k / 8;
#pragma unroll
        for (int32_t i = 0; i < 4; ++i)
        {
            int32_t const column = lane % 4 * 2 + i % 2;
            uint32_t const low = __shfl_sync(0xffffffffU, a[i / 2], lane / 4 * 4 + holder);
            uint32_t const high = __shfl_sync(0xffffffffU, a[2 + i / 2], lane / 4 * 4 + holder);
            uint32_t const first = __shfl_sync(0xffffffffU, b0, column * 4 + holder);
            uint32_t const second = __shfl_sync(0xffffffffU, b1, column * 4 + holder);
            c[i] += element(upper == 0 ? low : high, k % 2) * element(upper == 0 ? first : second, k % 2);
        }
    }
#endif
}

#else

inline void loadMatrices(uint32_t (&words)[4], uint4 const* row)
{
    host_cuda::loadMatrices(words, row, false);
}

inline void loadTransposed(uint32_t (&words)[4], uint4 const* row)
{
    host_cuda::loadMatrices(words, row, true);
}

template <Element kElement>
void multiplyAdd(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1)
{
    host_cuda::multiplyAdd(c, a, b0, b1, [](uint16_t element) { return toFloat<kElement>(element); });
}

#endif

//! Sums of two pairs of halves or bfloat16, each rounded once.
template <Element kElement>
__device__ uint32_t addPairs(uint32_t a, uint32_t b)
{
    static_assert(kElement != Element::kFloat);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint32_t sum;
    if constexpr (kElement == Element::kHalf)
    {
        asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
    }
    else
    {
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(0x3f803f80U), "r"(b)); // a * 1 + b
    }
    return sum;
#else
    auto const low = [](uint32_t pair)
    {
        return toFloat<kElement>(static_cast<uint16_t>(pair & 0xffffU));
    };
    auto const high = [](uint32_t pair)
    {
        return toFloat<kElement>(static_cast<uint16_t>(pair >> 16));
    };
    return pairOf<kElement>(low(a) + low(b), high(a) + high(b));
#endif
}

} // namespace sparsevit
