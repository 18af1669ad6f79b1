#include "kernels/bias_gelu/kernel.h"

#include "kernels/element_cast.cuh"

namespace sparsevit
{
namespace
{

constexpr uint32_t kThreads{256};
constexpr float kInverseOfRootOfTwo{0.70710678118654752F};

//! Vector: 16 bytes, or an element where rows or addresses allow no more.
template <Element kElement, typename Vector>
__global__ void __launch_bounds__(kThreads)
    addAndApply(uint32_t vectors, uint32_t lanes, Vector const* __restrict__ bias, Vector* __restrict__ y)
{
    constexpr int32_t kElements{Lanes<kElement, Vector>::kCount};
    uint32_t const vector = blockIdx.x * kThreads + threadIdx.x;
    if (vector >= vectors)
    {
        return;
    }
    float values[kElements];
    float biases[kElements];
    unpack<kElement>(y[vector], values);
    unpack<kElement>(bias[vector % lanes], biases);
#pragma unroll
    for (int32_t i = 0; i < kElements; ++i)
    {
        float const x = values[i] + biases[i];
        values[i] = 0.5F * x * (1.0F + erff(x * kInverseOfRootOfTwo));
    }
    pack<kElement>(values, y[vector]);
}

} // namespace

cudaError_t launchBiasGelu(BiasGeluParams const& p, cudaStream_t stream) noexcept
{
    if (p.rows < 0 || p.channels < 1)
    {
        return cudaErrorInvalidValue;
    }
    if (p.rows == 0)
    {
        return cudaSuccess;
    }
    return withElement(p.element,
        [&](auto type)
        {
            constexpr Element kElement{decltype(type)::kValue};
            using Type = typename Cell<kElement>::Type;
            auto const run = [&](auto vector)
            {
                using Vector = decltype(vector);
                int64_t const lanes = p.channels / Lanes<kElement, Vector>::kCount;
                int64_t const limit = (int64_t{1} << 31) - kThreads; // the last block counts past the end
                if (lanes > limit || p.rows > limit / lanes)
                {
                    return cudaErrorInvalidValue;
                }
                auto const vectors = static_cast<uint32_t>(p.rows * lanes);
                return launch(addAndApply<kElement, Vector>, dim3{(vectors - 1) / kThreads + 1}, kThreads, stream,
                    vectors, static_cast<uint32_t>(lanes), static_cast<Vector const*>(p.bias),
                    static_cast<Vector*>(p.y));
            };
            int64_t const bytes = p.channels * static_cast<int64_t>(sizeof(Type));
            return vectorBytes(bytes, {p.bias, p.y}) == 16 ? run(uint4{}) : run(Type{});
        });
}

} // namespace sparsevit
