// `WindowScatterAdd`: writes the listed windows back into a token map, with what is added to them.
#pragma once

#include "kernels/window_scatter_add/kernel.h"
#include "onnxruntime/custom_op.h"
#include "onnxruntime/window_attributes.h"

namespace sparsevit
{
namespace ort
{

class WindowScatterAdd
{
public:
    static constexpr char const* kName{"WindowScatterAdd"};
    //! x (B, H, W, C), tokens and update (B, k * T, C), bias (C), index (B, k)
    static constexpr Kind kInputs[]{
        Kind::kElement, Kind::kElement, Kind::kElement, Kind::kElement, Kind::kIndex};
    static constexpr Kind kOutputs[]{Kind::kElement}; // y (B, H, W, C)
    static constexpr int32_t kInPlace{0};             // y in the place of x

    bool read(Attributes const& attributes, Text& error)
    {
        return mWindows.read(attributes, error);
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& x = inputs[0];
        Shape const& index = inputs[4];
        if (!mWindows.checkMap(x, error) || !mWindows.checkIndex(x, index, error)
            || !mWindows.checkTokens(x, inputs[1], index, "tokens", error)
            || !mWindows.checkTokens(x, inputs[2], index, "update", error)
            || !checkChannels(x, inputs[3], "bias", error))
        {
            return false;
        }
        outputs[0] = x;
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        WindowScatterAddParams params{};
        params.grid = mWindows.grid();
        params.batch = inputs[0].shape[0];
        params.count = inputs[4].shape[1];
        params.channels = inputs[0].shape[3];
        params.element = inputs[0].element();
        params.indexBytes = inputs[4].bytes();
        params.x = inputs[0].data;
        params.tokens = inputs[1].data;
        params.update = inputs[2].data;
        params.bias = inputs[3].data;
        params.index = inputs[4].data;
        params.y = outputs[0].data;
        return launchWindowScatterAdd(params, stream);
    }

private:
    WindowAttributes mWindows;
};

} // namespace ort
} // namespace sparsevit
