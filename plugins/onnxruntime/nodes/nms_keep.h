// `NmsKeep`: which boxes of each group non-maximum suppression keeps.
#pragma once

#include "kernels/nms_keep/kernel.h"
#include "onnxruntime/custom_op.h"

namespace sparsevit
{
namespace ort
{

class NmsKeep
{
public:
    static constexpr char const* kName{"NmsKeep"};
    static constexpr Kind kInputs[]{Kind::kFloat, Kind::kFloat}; // boxes (G, N, 4), scores (G, N)
    static constexpr Kind kOutputs[]{Kind::kInt32};              // keep (G, N)
    static constexpr int32_t kInPlace{kNowhere};

    bool read(Attributes const& attributes, Text& error)
    {
        if (!attributes.read("iou", mIou, error) || !attributes.read("score_threshold", mScoreThreshold, error)
            || !attributes.read("limit", mLimit, error))
        {
            return false;
        }
        bool const isShare = mIou >= 0.0F && mIou <= 1.0F; // NaN is none
        bool const isNumber = mScoreThreshold == mScoreThreshold;
        if (!isShare || !isNumber || mLimit < 0)
        {
            error << "iou is " << double{mIou} << ", score_threshold " << double{mScoreThreshold} << ", limit "
                  << int64_t{mLimit} << "; they must be from 0 to 1, a number, and not negative";
            return false;
        }
        return true;
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& boxes = inputs[0];
        Shape const& scores = inputs[1];
        if (boxes.rank != 3 || !agree(boxes[2], 4) || scores.rank != 2 || !agree(scores[0], boxes[0])
            || !agree(scores[1], boxes[1]))
        {
            error << "boxes have the shape " << boxes << " and scores " << scores
                  << ", expected (groups, boxes, 4) and (groups, boxes)";
            return false;
        }
        outputs[0] = scores;
        return true;
    }

    size_t workspace(Tensor const* inputs) const
    {
        return nmsKeepWorkspace(inputs[1].shape[0], inputs[1].shape[1]);
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void* workspace, cudaStream_t stream) const
    {
        NmsKeepParams params{};
        params.groups = inputs[1].shape[0];
        params.count = inputs[1].shape[1];
        params.iou = mIou;
        params.scoreThreshold = mScoreThreshold;
        params.limit = mLimit;
        params.boxes = static_cast<float const*>(inputs[0].data);
        params.scores = static_cast<float const*>(inputs[1].data);
        params.keep = static_cast<int32_t*>(outputs[0].data);
        params.workspace = workspace;
        return launchNmsKeep(params, stream);
    }

private:
    float mIou{0.0F};
    float mScoreThreshold{0.0F};
    int32_t mLimit{0};
};

} // namespace ort
} // namespace sparsevit
