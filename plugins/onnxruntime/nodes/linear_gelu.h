// `LinearGelu`: the first product of a feed-forward layer, its bias and GELU.
#pragma once

#include "onnxruntime/custom_op.h"
#include "onnxruntime/products.h"

namespace sparsevit
{
namespace ort
{

class LinearGelu
{
public:
    static constexpr char const* kName{"LinearGelu"};
    //! x (..., C), weight (C, D), bias (D)
    static constexpr Kind kInputs[]{Kind::kElement, Kind::kElement, Kind::kElement};
    static constexpr Kind kOutputs[]{Kind::kElement}; // y (..., D)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const&, Text&)
    {
        return true;
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& x = inputs[0];
        Shape const& weight = inputs[1];
        Shape const& bias = inputs[2];
        int32_t const last = x.rank - 1;
        if (last < 0 || weight.rank != 2 || bias.rank != 1 || !agree(x[last], weight[0]) || !agree(weight[1], bias[0])
            || weight[0] == 0 || weight[1] == 0)
        {
            error << "x has the shape " << x << ", weight " << weight << ", bias " << bias
                  << "; expected (..., in), (in, out), (out)";
            return false;
        }
        outputs[0] = x;
        outputs[0].sizes[last] = weight[1];
        return true;
    }

    size_t workspace(Tensor const* inputs) const
    {
        return mProducts.workspace(call(inputs, nullptr));
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void* workspace, cudaStream_t stream) const
    {
        return mProducts.run(call(inputs, outputs[0].data), workspace, stream);
    }

private:
    static ProductCall call(Tensor const* inputs, void* y)
    {
        ProductCall made{};
        made.rows = 1;
        for (int32_t i = 0; i + 1 < inputs[0].shape.rank; ++i)
        {
            made.rows *= inputs[0].shape[i];
        }
        made.in = inputs[1].shape[0];
        made.out = inputs[1].shape[1];
        made.element = inputs[0].element();
        made.x = inputs[0].data;
        made.weight = inputs[1].data;
        made.bias = inputs[2].data;
        made.y = y;
        return made;
    }

    mutable Products mProducts;
};

} // namespace ort
} // namespace sparsevit
