// What windows are sorted by. Plain C++ as well as CUDA.
#pragma once

#include "kernels/host_device.h"

#include <cstdint>
#include <cstring>

namespace sparsevit
{

//! Rises as scores fall; the same for minus zero and zero; of scores that are no number the highest of all. At least 1.
SPARSEVIT_HOST_DEVICE uint32_t fallingBits(float score)
{
    if (score != score)
    {
        return 0xffffffffU;
    }
    float const value = score + 0.0F; // minus zero is zero
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    // Bits of positive floats rise with them, those of negative ones fall.
    return (bits & 0x80000000U) != 0 ? bits : ~(bits | 0x80000000U);
}

//! Rising keys are falling scores, of equal ones rising ids; scores that are no number come last. No two are equal.
SPARSEVIT_HOST_DEVICE uint64_t rankKey(float score, uint32_t id)
{
    return uint64_t{fallingBits(score)} << 32 | id;
}

//! Behind every window.
constexpr uint64_t kNoWindow{~uint64_t{0}};

} // namespace sparsevit
