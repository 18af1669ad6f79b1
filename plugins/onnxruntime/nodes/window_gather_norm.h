// `WindowGatherNorm`: reads the listed windows out of a token map, and their LayerNorm.
#pragma once

#include "kernels/window_gather_norm/kernel.h"
#include "onnxruntime/custom_op.h"
#include "onnxruntime/norm_attributes.h"
#include "onnxruntime/window_attributes.h"

namespace sparsevit
{
namespace ort
{

class WindowGatherNorm
{
public:
    static constexpr char const* kName{"WindowGatherNorm"};
    //! x (B, H, W, C), index (B, k), scale (C), bias (C)
    static constexpr Kind kInputs[]{Kind::kElement, Kind::kIndex, Kind::kElement, Kind::kElement};
    static constexpr Kind kOutputs[]{Kind::kElement, Kind::kElement}; // tokens and normed (B, k * T, C)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        return mWindows.read(attributes, error) && readEpsilon(attributes, mEpsilon, error);
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& x = inputs[0];
        if (!mWindows.checkMap(x, error) || !mWindows.checkIndex(x, inputs[1], error)
            || !checkChannels(x, inputs[2], "scale", error) || !checkChannels(x, inputs[3], "bias", error))
        {
            return false;
        }
        outputs[0] = mWindows.tokens(x, inputs[1]);
        outputs[1] = outputs[0];
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        WindowGatherNormParams params{};
        params.grid = mWindows.grid();
        params.batch = inputs[0].shape[0];
        params.count = inputs[1].shape[1];
        params.channels = inputs[0].shape[3];
        params.element = inputs[0].element();
        params.indexBytes = inputs[1].bytes();
        params.epsilon = mEpsilon;
        params.x = inputs[0].data;
        params.index = inputs[1].data;
        params.scale = inputs[2].data;
        params.bias = inputs[3].data;
        params.tokens = outputs[0].data;
        params.normed = outputs[1].data;
        return launchWindowGatherNorm(params, stream);
    }

private:
    WindowAttributes mWindows;
    float mEpsilon{0.0F};
};

} // namespace ort
} // namespace sparsevit
