// Products without cuBLASLt, which has no CPU: for the tests of their node.
#include "kernels/bias_gelu/kernel.h"
#include "kernels/element_cast.cuh"
#include "onnxruntime/products.h"

namespace sparsevit
{
namespace ort
{

struct ProductPlan
{
};

Products::~Products() = default;

size_t Products::workspace(ProductCall const&)
{
    return 0;
}

cudaError_t Products::run(ProductCall const& call, void*, cudaStream_t stream)
{
    cudaError_t const multiplied = withElement(call.element,
        [&](auto type)
        {
            constexpr Element kElement{decltype(type)::kValue};
            using Type = typename Cell<kElement>::Type;
            auto const* const x = static_cast<Type const*>(call.x);
            auto const* const weight = static_cast<Type const*>(call.weight);
            for (int64_t row = 0; row < call.rows; ++row)
            {
                for (int64_t column = 0; column < call.out; ++column)
                {
                    float sum = 0.0F;
                    for (int64_t i = 0; i < call.in; ++i)
                    {
                        sum += toFloat<kElement>(x[row * call.in + i])
                            * toFloat<kElement>(weight[i * call.out + column]);
                    }
                    static_cast<Type*>(call.y)[row * call.out + column] = fromFloat<kElement>(sum);
                }
            }
            return cudaSuccess;
        });
    BiasGeluParams params{};
    params.rows = call.rows;
    params.channels = call.out;
    params.element = call.element;
    params.bias = call.bias;
    params.y = call.y;
    return multiplied != cudaSuccess ? multiplied : launchBiasGelu(params, stream);
}

} // namespace ort
} // namespace sparsevit
