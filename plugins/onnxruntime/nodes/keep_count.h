// `KeepCount`: how many windows a pair of blocks computes. It runs on the host in every session, next to the slices that
// need its answer there: ONNX Runtime then copies nothing back from the GPU, and can record a run as a CUDA graph.
#pragma once

#include "onnxruntime/custom_op.h"

namespace sparsevit
{
namespace ort
{

class KeepCount
{
public:
    static constexpr char const* kName{"KeepCount"};
    static constexpr Kind kInputs[]{Kind::kInt64};  // keep (pairs)
    static constexpr Kind kOutputs[]{Kind::kInt64}; // count (1)
    static constexpr int32_t kInPlace{kNowhere};
    static constexpr bool kOnHost{true};

    bool read(Attributes const& attributes, Text& error)
    {
        if (!attributes.read("place", mPlace, error))
        {
            return false;
        }
        if (mPlace < 0)
        {
            error << "place is " << int64_t{mPlace} << ", it must not be negative";
        }
        return mPlace >= 0;
    }

    bool shapes(Shape const* inputs, Shape* outputs, Text& error) const
    {
        Shape const& keep = inputs[0];
        if (keep.rank != 1 || (keep[0] >= 0 && keep[0] <= mPlace))
        {
            error << "keep has the shape " << keep << ", expected more than " << int64_t{mPlace} << " counts";
            return false;
        }
        outputs[0] = {1};
        return true;
    }

    size_t workspace(Tensor const*) const
    {
        return 0;
    }

    cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void*, cudaStream_t) const
    {
        *static_cast<int64_t*>(outputs[0].data) = static_cast<int64_t const*>(inputs[0].data)[mPlace];
        return cudaSuccess;
    }

private:
    int32_t mPlace{0};
};

} // namespace ort
} // namespace sparsevit
