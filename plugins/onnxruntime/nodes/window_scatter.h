// `WindowScatter`: writes the listed windows back into a token map.
#pragma once

#include "kernels/window_scatter/kernel.h"
#include "onnxruntime/custom_op.h"
#include "onnxruntime/window_attributes.h"

namespace sparsevit
{
namespace ort
{

class WindowScatter
{
public:
    static constexpr char const* kName{"WindowScatter"};
    //! x (B, H, W, C), windows (B, k, T, C), index (B, k)
    static constexpr Kind kInputs[]{Kind::kElement, Kind::kElement, Kind::kIndex};
    static constexpr Kind kOutputs[]{Kind::kElement}; // y (B, H, W, C)
    static constexpr int32_t kInPlace{0};             // y in the place of x

    bool read(Attributes const& attributes, Text& error)
    {
        return mWindows.read(attributes, error);
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& x = inputs[0];
        if (!mWindows.checkMap(x, error) || !mWindows.checkIndex(x, inputs[2], error)
            || !mWindows.checkWindows(x, inputs[1], inputs[2], error))
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
        WindowScatterParams params{};
        params.grid = mWindows.grid();
        params.batch = inputs[0].shape[0];
        params.count = inputs[2].shape[1];
        params.channels = inputs[0].shape[3];
        params.elementBytes = inputs[0].bytes();
        params.indexBytes = inputs[2].bytes();
        params.x = inputs[0].data;
        params.windows = inputs[1].data;
        params.index = inputs[2].data;
        params.y = outputs[0].data;
        return launchWindowScatter(params, stream);
    }

private:
    WindowAttributes mWindows;
};

} // namespace ort
} // namespace sparsevit
