// The warp's matrix instructions on the host: every lane offers what it holds, and each gathers its own elements of the
// result from where the PTX ISA says they lie.
#pragma once

#include "cuda_runtime.h"

namespace host_cuda
{

//! ldmatrix.x4: lane i names row i % 8 of matrix i / 8.
inline void loadMatrices(uint32_t (&words)[4], uint4 const* row, bool isTransposed)
{
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
    {
        std::abort(); // a misaligned address on the GPU
    }
    unsigned int const lane = threadIdx.x % kWarpLanes;
    unsigned int const major = lane / 4;
    unsigned int const minor = lane % 4 * 2;
    Block::exchange(row,
        [&](auto const& rowOf)
        {
            for (unsigned int matrix = 0; matrix < 4; ++matrix)
            {
                auto const element = [&](unsigned int i, unsigned int j)
                {
                    uint16_t value;
                    std::memcpy(&value, reinterpret_cast<char const*>(rowOf(8 * matrix + i)) + 2 * j, sizeof(value));
                    return static_cast<uint32_t>(value);
                };
                words[matrix] = isTransposed ? element(minor, major) | element(minor + 1, major) << 16
                                             : element(major, minor) | element(major, minor + 1) << 16;
            }
            return 0;
        });
}

//! mma.m16n8k16: c (16x8) += a (16x16) b (16x8).
template <typename ToFloat>
void multiplyAdd(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, ToFloat&& toFloat)
{
    struct Operands
    {
        uint32_t a[4];
        uint32_t b[2];
    };
    unsigned int const lane = threadIdx.x % kWarpLanes;
    Block::exchange(Operands{{a[0], a[1], a[2], a[3]}, {b0, b1}},
        [&](auto const& operandsOf)
        {
            // Element 0 of a word is in its low half. Rows of a and columns of b are groups of four lanes.
            auto const half = [&](uint32_t word, unsigned int k)
            {
                return toFloat(static_cast<uint16_t>(word >> (k % 2 * 16)));
            };
            for (unsigned int i = 0; i < 4; ++i)
            {
                unsigned int const row = lane / 4 + i / 2 * 8;
                unsigned int const column = lane % 4 * 2 + i % 2;
                for (unsigned int k = 0; k < 16; ++k)
                {
                    unsigned int const holder = k % 8 / 2;
                    Operands const left = operandsOf(row % 8 * 4 + holder);
                    Operands const right = operandsOf(column * 4 + holder);
                    c[i] += half(left.a[k / 8 * 2 + row / 8], k) * half(right.b[k / 8], k);
                }
            }
            return 0;
        });
}

} // namespace host_cuda
