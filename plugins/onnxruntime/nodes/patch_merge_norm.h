// `PatchMergeNorm`: patches of 2x2 tokens as one token each, and its LayerNorm.
#pragma once

#include "kernels/patch_merge_norm/kernel.h"
#include "onnxruntime/custom_op.h"
#include "onnxruntime/norm_attributes.h"

namespace sparsevit
{
namespace ort
{

class PatchMergeNorm
{
public:
    static constexpr char const* kName{"PatchMergeNorm"};
    //! x (B, H, W, C), scale and shift (4 C)
    static constexpr Kind kInputs[]{Kind::kElement, Kind::kElement, Kind::kElement};
    static constexpr Kind kOutputs[]{Kind::kElement}; // normed (B, H / 2, W / 2, 4 C), rounded up
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        if (!attributes.read("height", mHeight, error) || !attributes.read("width", mWidth, error)
            || !readEpsilon(attributes, mEpsilon, error))
        {
            return false;
        }
        bool const good = mHeight >= 1 && mWidth >= 1;
        if (!good)
        {
            error << "height is " << int64_t{mHeight} << ", width " << int64_t{mWidth} << "; they must be at least 1";
        }
        return good;
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& x = inputs[0];
        if (!checkMap(x, error))
        {
            return false;
        }
        if (!agree(x[1], mHeight) || !agree(x[2], mWidth))
        {
            error << "x has the shape " << x << ", the node was exported for (batch, " << int64_t{mHeight} << ", "
                  << int64_t{mWidth} << ", channels); export the model for this size";
            return false;
        }
        if (!checkRow(x, inputs[1], "scale", 4, error) || !checkRow(x, inputs[2], "shift", 4, error))
        {
            return false;
        }
        outputs[0] = {x[0], (int64_t{mHeight} + 1) / 2, (int64_t{mWidth} + 1) / 2, times(x[3], 4)};
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        PatchMergeNormParams params{};
        params.batch = inputs[0].shape[0];
        params.height = mHeight;
        params.width = mWidth;
        params.channels = inputs[0].shape[3];
        params.element = inputs[0].element();
        params.epsilon = mEpsilon;
        params.x = inputs[0].data;
        params.scale = inputs[1].data;
        params.shift = inputs[2].data;
        params.normed = outputs[0].data;
        return launchPatchMergeNorm(params, stream);
    }

private:
    int32_t mHeight{0};
    int32_t mWidth{0};
    float mEpsilon{0.0F};
};

} // namespace ort
} // namespace sparsevit
