// `PatchEmbed`: camera bytes to tokens.
#pragma once

#include "kernels/patch_embed/kernel.h"
#include "onnxruntime/custom_op.h"

namespace sparsevit
{
namespace ort
{

class PatchEmbed
{
public:
    static constexpr char const* kName{"PatchEmbed"};
    //! image (B, H, W, 3), weight (48, C), bias (C), mean (3), scale (C), shift (C)
    static constexpr Kind kInputs[]{
        Kind::kUint8, Kind::kFloat, Kind::kFloat, Kind::kFloat, Kind::kElement, Kind::kElement};
    static constexpr Kind kOutputs[]{Kind::kElement}; // tokens (B, padded H / 4, padded W / 4, C)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        if (!attributes.read("height", mHeight, error) || !attributes.read("width", mWidth, error)
            || !attributes.read("pad_multiple", mPadMultiple, error) || !attributes.read("epsilon", mEpsilon, error))
        {
            return false;
        }
        bool const good =
            mHeight >= 1 && mWidth >= 1 && mPadMultiple >= kPatch && mPadMultiple % kPatch == 0 && mEpsilon >= 0.0F;
        if (!good)
        {
            error << "height is " << int64_t{mHeight} << ", width " << int64_t{mWidth} << ", pad_multiple "
                  << int64_t{mPadMultiple} << ", epsilon " << double{mEpsilon}
                  << "; they must be at least 1, a multiple of 4, and not negative";
        }
        return good;
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& image = inputs[0];
        Shape const& weight = inputs[1];
        if (image.rank != 4 || !agree(image[1], mHeight) || !agree(image[2], mWidth) || !agree(image[3], 3))
        {
            error << "image has the shape " << image << ", the node was exported for (batch, " << int64_t{mHeight}
                  << ", " << int64_t{mWidth} << ", 3); export the model for this size";
            return false;
        }
        bool const fits = weight.rank == 2 && agree(weight[0], kPatch * kPatch * 3) && weight[1] != 0
            && isVector(inputs[2], weight[1]) && isVector(inputs[3], 3) && isVector(inputs[4], weight[1])
            && isVector(inputs[5], weight[1]);
        if (!fits)
        {
            error << "weight has the shape " << weight << ", bias " << inputs[2] << ", mean " << inputs[3] << ", scale "
                  << inputs[4] << ", shift " << inputs[5] << ", expected (48, channels), (channels), (3), and twice "
                  << "(channels)";
            return false;
        }
        outputs[0] = {image[0], padded(mHeight) / kPatch, padded(mWidth) / kPatch, weight[1]};
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        PatchEmbedParams params{};
        params.batch = inputs[0].shape[0];
        params.height = mHeight;
        params.width = mWidth;
        params.padMultiple = mPadMultiple;
        params.channels = inputs[1].shape[1];
        params.element = inputs[4].element();
        params.epsilon = mEpsilon;
        params.image = static_cast<uint8_t const*>(inputs[0].data);
        params.weight = static_cast<float const*>(inputs[1].data);
        params.bias = static_cast<float const*>(inputs[2].data);
        params.mean = static_cast<float const*>(inputs[3].data);
        params.scale = inputs[4].data;
        params.shift = inputs[5].data;
        params.tokens = outputs[0].data;
        return launchPatchEmbed(params, stream);
    }

private:
    static constexpr int32_t kPatch{4};

    static bool isVector(Shape const& shape, int64_t size)
    {
        return shape.rank == 1 && agree(shape[0], size);
    }

    int64_t padded(int64_t size) const
    {
        return (size + mPadMultiple - 1) / mPadMultiple * mPadMultiple;
    }

    int32_t mHeight{0};
    int32_t mWidth{0};
    int32_t mPadMultiple{0};
    float mEpsilon{0.0F};
};

} // namespace ort
} // namespace sparsevit
