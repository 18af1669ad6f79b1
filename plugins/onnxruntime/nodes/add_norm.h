// `AddNorm`: a residual sum, and its LayerNorm.
#pragma once

#include "kernels/add_norm/kernel.h"
#include "onnxruntime/custom_op.h"
#include "onnxruntime/norm_attributes.h"

namespace sparsevit
{
namespace ort
{

class AddNorm
{
public:
    static constexpr char const* kName{"AddNorm"};
    //! x and update (..., C), bias, scale and shift (C)
    static constexpr Kind kInputs[]{
        Kind::kElement, Kind::kElement, Kind::kElement, Kind::kElement, Kind::kElement};
    static constexpr Kind kOutputs[]{Kind::kElement, Kind::kElement}; // sum and normed (..., C)
    static constexpr int32_t kInPlace{0};                             // sum in the place of x

    bool read(Attributes const& attributes, Text& error)
    {
        return readEpsilon(attributes, mEpsilon, error);
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& x = inputs[0];
        if (x.rank == 0 || !agree(x, inputs[1]))
        {
            error << "x has the shape " << x << ", update " << inputs[1] << ", expected (..., channels) twice";
            return false;
        }
        if (!checkRow(x, inputs[2], "bias", 1, error) || !checkRow(x, inputs[3], "scale", 1, error)
            || !checkRow(x, inputs[4], "shift", 1, error))
        {
            return false;
        }
        outputs[0] = x;
        outputs[1] = x;
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        Shape const& x = inputs[0].shape;
        AddNormParams params{};
        params.rows = 1;
        for (int32_t i = 0; i + 1 < x.rank; ++i)
        {
            params.rows *= x[i];
        }
        params.channels = x[x.rank - 1];
        params.element = inputs[0].element();
        params.epsilon = mEpsilon;
        params.x = inputs[0].data;
        params.update = inputs[1].data;
        params.bias = inputs[2].data;
        params.scale = inputs[3].data;
        params.shift = inputs[4].data;
        params.sum = outputs[0].data;
        params.normed = outputs[1].data;
        return launchAddNorm(params, stream);
    }

private:
    float mEpsilon{0.0F};
};

} // namespace ort
} // namespace sparsevit
