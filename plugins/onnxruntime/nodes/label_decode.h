// `LabelDecode`: scores of classes to labels in full resolution.
#pragma once

#include "kernels/label_decode/kernel.h"
#include "onnxruntime/custom_op.h"

namespace sparsevit
{
namespace ort
{

class LabelDecode
{
public:
    static constexpr char const* kName{"LabelDecode"};
    static constexpr Kind kInputs[]{Kind::kElement}; // logits (B, K, h, w)
    static constexpr Kind kOutputs[]{Kind::kUint8};  // labels (B, height, width)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        if (!attributes.read("scale", mScale, error) || !attributes.read("height", mHeight, error)
            || !attributes.read("width", mWidth, error))
        {
            return false;
        }
        bool const good = mScale >= 1 && mHeight >= 1 && mWidth >= 1;
        if (!good)
        {
            error << "scale is " << int64_t{mScale} << ", height " << int64_t{mHeight} << ", width " << int64_t{mWidth}
                  << "; they must be at least 1";
        }
        return good;
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& logits = inputs[0];
        if (logits.rank != 4 || logits[1] == 0 || logits[1] > kMostClasses || !covers(logits[2], mHeight)
            || !covers(logits[3], mWidth))
        {
            error << "logits have the shape " << logits << ", expected (batch, at most " << int64_t{kMostClasses}
                  << " classes, rows, columns), scaled by " << int64_t{mScale} << " at least (" << int64_t{mHeight}
                  << ", " << int64_t{mWidth} << ")";
            return false;
        }
        outputs[0] = {logits[0], mHeight, mWidth};
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        LabelDecodeParams params{};
        params.batch = inputs[0].shape[0];
        params.classes = inputs[0].shape[1];
        params.rows = inputs[0].shape[2];
        params.columns = inputs[0].shape[3];
        params.scale = mScale;
        params.height = mHeight;
        params.width = mWidth;
        params.element = inputs[0].element();
        params.logits = inputs[0].data;
        params.labels = static_cast<uint8_t*>(outputs[0].data);
        return launchLabelDecode(params, stream);
    }

private:
    static constexpr int32_t kMostClasses{256};

    bool covers(int64_t cells, int64_t labels) const
    {
        return cells < 0 || cells * mScale >= labels;
    }

    int32_t mScale{0};
    int32_t mHeight{0};
    int32_t mWidth{0};
};

} // namespace ort
} // namespace sparsevit
