// `WindowRank`: the ids of all windows, by descending score.
#pragma once

#include "kernels/window_rank/kernel.h"
#include "onnxruntime/custom_op.h"
#include "onnxruntime/window_attributes.h"

namespace sparsevit
{
namespace ort
{

class WindowRank
{
public:
    static constexpr char const* kName{"WindowRank"};
    static constexpr Kind kInputs[]{Kind::kElement}; // x (B, H, W, C)
    static constexpr Kind kOutputs[]{Kind::kInt32};  // order (B, nW)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        return mWindows.read(attributes, error);
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        if (!mWindows.checkMap(inputs[0], error))
        {
            return false;
        }
        outputs[0] = {inputs[0][0], mWindows.grid().windows()};
        return true;
    }

    size_t workspace(Tensor const* inputs) const
    {
        return windowRankWorkspace(mWindows.grid(), inputs[0].shape[0]);
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void* workspace, cudaStream_t stream) const
    {
        WindowRankParams params{};
        params.grid = mWindows.grid();
        params.batch = inputs[0].shape[0];
        params.channels = inputs[0].shape[3];
        params.element = inputs[0].element();
        params.x = inputs[0].data;
        params.order = static_cast<int32_t*>(outputs[0].data);
        params.workspace = workspace;
        return launchWindowRank(params, stream);
    }

private:
    WindowAttributes mWindows;
};

} // namespace ort
} // namespace sparsevit
