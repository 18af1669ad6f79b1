// `WindowAttention`: attention within each listed window.
#pragma once

#include "kernels/window_attention/kernel.h"
#include "onnxruntime/custom_op.h"

namespace sparsevit
{
namespace ort
{

class WindowAttention
{
public:
    static constexpr char const* kName{"WindowAttention"};
    //! qkv (B, k * T, 3 C), qkv_bias (3 C), index (B, k), kind (nW), position_bias (kinds, heads, T, T)
    static constexpr Kind kInputs[]{
        Kind::kElement, Kind::kElement, Kind::kIndex, Kind::kInt32, Kind::kElement};
    static constexpr Kind kOutputs[]{Kind::kElement}; // (B, k * T, C)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        if (!attributes.read("heads", mHeads, error) || !attributes.read("window_size", mWindowSize, error))
        {
            return false;
        }
        bool const good = mHeads >= 1 && mWindowSize >= 1 && mWindowSize <= kMostWindow;
        if (!good)
        {
            error << "heads is " << int64_t{mHeads} << ", window_size " << int64_t{mWindowSize}
                  << "; they must be at least 1, and the second at most " << int64_t{kMostWindow};
        }
        return good;
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& qkv = inputs[0];
        Shape const& bias = inputs[1];
        Shape const& index = inputs[2];
        Shape const& kind = inputs[3];
        Shape const& position = inputs[4];
        int64_t const tokens = int64_t{mWindowSize} * mWindowSize;
        int64_t const channels = qkv.rank != 3 || qkv[2] < 0 ? Shape::kUnknown : qkv[2] / 3;
        if (qkv.rank != 3 || index.rank != 2 || !agree(qkv[0], index[0])
            || !agree(qkv[1], times(index[1], tokens)) || qkv[2] == 0
            || (qkv[2] > 0 && qkv[2] % (int64_t{mHeads} * 3) != 0))
        {
            error << "qkv has the shape " << qkv << " for index " << index << ", expected (batch, kept windows x "
                  << tokens << ", 3 x channels), the channels a multiple of " << int64_t{mHeads} << " heads";
            return false;
        }
        if (bias.rank != 1 || !agree(bias[0], qkv[2]) || kind.rank != 1 || index[1] > kind[0])
        {
            error << "qkv_bias has the shape " << bias << ", kind " << kind << " for qkv " << qkv << " and index "
                  << index << ", expected (3 x channels) and (windows)";
            return false;
        }
        if (position.rank != 4 || position[0] == 0 || !agree(position[1], mHeads) || !agree(position[2], tokens)
            || !agree(position[3], tokens))
        {
            error << "position_bias has the shape " << position << ", expected (kinds, " << int64_t{mHeads} << ", "
                  << tokens << ", " << tokens << ")";
            return false;
        }
        outputs[0] = {qkv[0], qkv[1], channels};
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        WindowAttentionParams params{};
        params.batch = inputs[0].shape[0];
        params.count = inputs[2].shape[1];
        params.channels = inputs[0].shape[2] / 3;
        params.heads = mHeads;
        params.windowSize = mWindowSize;
        params.windows = inputs[3].shape[0];
        params.kinds = inputs[4].shape[0];
        params.element = inputs[0].element();
        params.indexBytes = inputs[2].bytes();
        params.qkv = inputs[0].data;
        params.qkvBias = inputs[1].data;
        params.index = inputs[2].data;
        params.kind = static_cast<int32_t const*>(inputs[3].data);
        params.positionBias = inputs[4].data;
        params.output = outputs[0].data;
        return launchWindowAttention(params, stream);
    }

private:
    static constexpr int32_t kMostWindow{1024};

    int32_t mHeads{0};
    int32_t mWindowSize{0};
};

} // namespace ort
} // namespace sparsevit
