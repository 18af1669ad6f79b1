// `MultiLevelRoiAlign`: pools each box from the one of four maps that fits its size.
#pragma once

#include "kernels/multi_level_roi_align/kernel.h"
#include "onnxruntime/custom_op.h"

namespace sparsevit
{
namespace ort
{

class MultiLevelRoiAlign
{
public:
    static constexpr char const* kName{"MultiLevelRoiAlign"};
    //! maps (B, C, height, width), finest first, and boxes (B, N, 4)
    static constexpr Kind kInputs[]{Kind::kElement, Kind::kElement, Kind::kElement, Kind::kElement, Kind::kFloat};
    static constexpr Kind kOutputs[]{Kind::kElement}; // regions (B, N, C, output_size, output_size)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        if (!attributes.read("output_size", mOutputSize, error)
            || !attributes.read("strides", kRoiLevels, mStrides, error)
            || !attributes.readOptional("finest_scale", mFinestScale, error))
        {
            return false;
        }
        bool good = mOutputSize >= 1 && mOutputSize <= 1024 && mFinestScale >= 1;
        for (int32_t const stride : mStrides)
        {
            good = good && stride >= 1;
        }
        if (!good)
        {
            error << "output_size is " << int64_t{mOutputSize} << ", finest_scale " << int64_t{mFinestScale}
                  << ", the strides " << int64_t{mStrides[0]} << " to " << int64_t{mStrides[kRoiLevels - 1]}
                  << "; they must be at least 1, and the first at most 1024";
        }
        return good;
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& finest = inputs[0];
        Shape const& boxes = inputs[kRoiLevels];
        for (int32_t i = 0; i < kRoiLevels; ++i)
        {
            Shape const& map = inputs[i];
            if (map.rank != 4 || !agree(map[0], finest[0]) || !agree(map[1], finest[1]) || map[1] == 0 || map[2] == 0
                || map[3] == 0 || map[2] > INT32_MAX || map[3] > INT32_MAX)
            {
                error << "map " << int64_t{i} << " has the shape " << map << " where the first has " << finest
                      << ", expected (batch, channels, height, width), alike in the first two";
                return false;
            }
        }
        if (boxes.rank != 3 || !agree(boxes[0], finest[0]) || !agree(boxes[2], 4))
        {
            error << "boxes have the shape " << boxes << " for maps " << finest << ", expected (batch, boxes, 4)";
            return false;
        }
        outputs[0] = {finest[0], boxes[1], finest[1], mOutputSize, mOutputSize};
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t stream) const
    {
        MultiLevelRoiAlignParams params{};
        for (int32_t i = 0; i < kRoiLevels; ++i)
        {
            Shape const& map = inputs[i].shape;
            params.maps[i] = {inputs[i].data, static_cast<int32_t>(map[2]), static_cast<int32_t>(map[3]),
                static_cast<float>(mStrides[i])};
        }
        params.batch = inputs[0].shape[0];
        params.count = inputs[kRoiLevels].shape[1];
        params.channels = inputs[0].shape[1];
        params.outputSize = mOutputSize;
        params.finestScale = static_cast<float>(mFinestScale);
        params.element = inputs[0].element();
        params.boxes = static_cast<float const*>(inputs[kRoiLevels].data);
        params.output = outputs[0].data;
        return launchMultiLevelRoiAlign(params, stream);
    }

private:
    int32_t mOutputSize{0};
    int32_t mStrides[kRoiLevels]{};
    int32_t mFinestScale{56};
};

} // namespace ort
} // namespace sparsevit
