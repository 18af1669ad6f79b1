// `FeatureMapNorm` and `FeatureMapNorm32`: a map's LayerNorm, channels first, in its own type or in float.
#pragma once

#include "kernels/feature_map_norm/kernel.h"
#include "onnxruntime/custom_op.h"
#include "onnxruntime/norm_attributes.h"

namespace sparsevit
{
namespace ort
{

template <Kind kOutput>
class MapNorm
{
public:
    static constexpr char const* kName{kOutput == Kind::kElement ? "FeatureMapNorm" : "FeatureMapNorm32"};
    //! x (B, H, W, C), scale and shift (C)
    static constexpr Kind kInputs[]{Kind::kElement, Kind::kElement, Kind::kElement};
    static constexpr Kind kOutputs[]{kOutput}; // y (B, C, H, W)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        return readEpsilon(attributes, mEpsilon, error);
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& x = inputs[0];
        if (!checkMap(x, error) || !checkRow(x, inputs[1], "scale", 1, error)
            || !checkRow(x, inputs[2], "shift", 1, error))
        {
            return false;
        }
        outputs[0] = {x[0], x[3], x[1], x[2]};
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        Shape const& x = inputs[0].shape;
        FeatureMapNormParams params{};
        params.batch = x[0];
        params.tokens = x[1] * x[2];
        params.channels = x[3];
        params.element = inputs[0].element();
        params.output = outputs[0].element();
        params.epsilon = mEpsilon;
        params.x = inputs[0].data;
        params.scale = inputs[1].data;
        params.shift = inputs[2].data;
        params.y = outputs[0].data;
        return launchFeatureMapNorm(params, stream);
    }

private:
    float mEpsilon{0.0F};
};

using FeatureMapNorm = MapNorm<Kind::kElement>;
using FeatureMapNorm32 = MapNorm<Kind::kFloat>;

} // namespace ort
} // namespace sparsevit
