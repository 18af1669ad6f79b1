// `WindowGather`: reads the listed windows out of a token map.
#pragma once

#include "kernels/window_gather/kernel.h"
#include "onnxruntime/custom_op.h"
#include "onnxruntime/window_attributes.h"

namespace sparsevit
{
namespace ort
{

class WindowGather
{
public:
    static constexpr char const* kName{"WindowGather"};
    static constexpr Kind kInputs[]{Kind::kElement, Kind::kIndex}; // x (B, H, W, C), index (B, k)
    static constexpr Kind kOutputs[]{Kind::kElement};              // windows (B, k, T, C)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        return mWindows.read(attributes, error);
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& x = inputs[0];
        if (!mWindows.checkMap(x, error) || !mWindows.checkIndex(x, inputs[1], error))
        {
            return false;
        }
        outputs[0] = {x[0], inputs[1][1], mWindows.grid().tokens(), x[3]};
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        WindowGatherParams params{};
        params.grid = mWindows.grid();
        params.batch = inputs[0].shape[0];
        params.count = inputs[1].shape[1];
        params.channels = inputs[0].shape[3];
        params.elementBytes = inputs[0].bytes();
        params.indexBytes = inputs[1].bytes();
        params.x = inputs[0].data;
        params.index = inputs[1].data;
        params.windows = outputs[0].data;
        return launchWindowGather(params, stream);
    }

private:
    WindowAttributes mWindows;
};

} // namespace ort
} // namespace sparsevit
