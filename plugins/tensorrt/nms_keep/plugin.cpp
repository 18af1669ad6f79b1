#include "tensorrt/nms_keep/plugin.h"

#include "kernels/nms_keep/kernel.h"
#include "tensorrt/fields.h"

#include <cmath>

namespace sparsevit
{

using fields::agree;
using fields::require;
using fields::str;
using nvinfer1::DataType;
using nvinfer1::PluginFieldType;

NmsKeepAttributes NmsKeepAttributes::read(nvinfer1::PluginFieldCollection const& given)
{
    NmsKeepAttributes result;
    result.iou = fields::number(fields::required(given, "iou"));
    result.scoreThreshold = fields::number(fields::required(given, "score_threshold"));
    result.limit = fields::integer(fields::required(given, "limit"));
    return result;
}

nvinfer1::PluginField NmsKeepAttributes::field(int32_t i, NmsKeepAttributes const* attributes)
{
    bool const isGiven = attributes != nullptr;
    switch (i)
    {
    case 0: return {"iou", isGiven ? &attributes->iou : nullptr, PluginFieldType::kFLOAT32, 1};
    case 1: return {"score_threshold", isGiven ? &attributes->scoreThreshold : nullptr, PluginFieldType::kFLOAT32, 1};
    default: return {"limit", isGiven ? &attributes->limit : nullptr, PluginFieldType::kINT32, 1};
    }
}

void NmsKeepAttributes::validate() const
{
    require(iou >= 0.0F && iou <= 1.0F, [&] { return "iou is " + std::to_string(iou) + ", it must be from 0 to 1"; });
    require(!std::isnan(scoreThreshold), [&] { return "score_threshold is not a number"; });
    require(limit >= 0, [&] { return "limit is " + std::to_string(limit) + ", it must not be negative"; });
}

NmsKeepPlugin::NmsKeepPlugin(NmsKeepAttributes const& attributes)
    : NodePlugin{attributes}
{
}

void NmsKeepPlugin::checkShapes(std::array<nvinfer1::Dims, kInputs> const& inputs) const
{
    nvinfer1::Dims const& boxes = inputs[0];
    nvinfer1::Dims const& scores = inputs[1];
    require(boxes.nbDims == 3 && agree(boxes.d[2], 4) && scores.nbDims == 2 && agree(scores.d[0], boxes.d[0])
            && agree(scores.d[1], boxes.d[1]),
        [&]
        {
            return "boxes have the shape " + str(boxes) + " and scores " + str(scores)
                + ", expected (groups, boxes, 4) and (groups, boxes)";
        });
}

int32_t NmsKeepPlugin::getOutputDataTypes(DataType* outputTypes, int32_t, DataType const*, int32_t) const noexcept
{
    outputTypes[0] = DataType::kINT32; // of the types that a plugin may return, the one that a graph casts to a mask
    return 0;
}

int32_t NmsKeepPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs, nvinfer1::DimsExprs const*,
    int32_t, nvinfer1::DimsExprs* outputs, int32_t nbOutputs, nvinfer1::IExprBuilder&) noexcept
{
    if (checkedExpressions(inputs, nbInputs, nbOutputs) != 0)
    {
        return -1;
    }
    outputs[0] = inputs[1]; // (G, N)
    return 0;
}

bool NmsKeepPlugin::supportsFormatCombination(
    int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t, int32_t) noexcept
{
    nvinfer1::PluginTensorDesc const& tensor = inOut[pos].desc;
    DataType const wanted = pos < kInputs ? DataType::kFLOAT : DataType::kINT32;
    return tensor.type == wanted && tensor.format == nvinfer1::TensorFormat::kLINEAR;
}

size_t NmsKeepPlugin::getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t,
    nvinfer1::DynamicPluginTensorDesc const*, int32_t) const noexcept
{
    nvinfer1::Dims const& most = inputs[1].max;
    return nmsKeepWorkspace(most.d[0], most.d[1]);
}

int32_t NmsKeepPlugin::enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const*,
    void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept
{
    NmsKeepParams params{};
    params.groups = inputDesc[1].dims.d[0];
    params.count = inputDesc[1].dims.d[1];
    params.iou = attributes().iou;
    params.scoreThreshold = attributes().scoreThreshold;
    params.limit = attributes().limit;
    params.boxes = static_cast<float const*>(inputs[0]);
    params.scores = static_cast<float const*>(inputs[1]);
    params.keep = static_cast<int32_t*>(outputs[0]);
    params.workspace = workspace;
    return launchNmsKeep(params, stream);
}

} // namespace sparsevit
