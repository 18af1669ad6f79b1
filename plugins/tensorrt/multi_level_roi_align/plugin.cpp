#include "tensorrt/multi_level_roi_align/plugin.h"

#include "kernels/multi_level_roi_align/kernel.h"
#include "tensorrt/fields.h"

namespace sparsevit
{

using fields::agree;
using fields::require;
using fields::str;
using nvinfer1::DataType;
using nvinfer1::PluginFieldType;

MultiLevelRoiAlignAttributes MultiLevelRoiAlignAttributes::read(nvinfer1::PluginFieldCollection const& given)
{
    MultiLevelRoiAlignAttributes result;
    result.outputSize = fields::integer(fields::required(given, "output_size"));
    fields::integers(fields::required(given, "strides"), kRoiLevels, result.strides.data());
    if (nvinfer1::PluginField const* const scale = fields::find(given, "finest_scale"))
    {
        result.finestScale = fields::integer(*scale);
    }
    return result;
}

nvinfer1::PluginField MultiLevelRoiAlignAttributes::field(int32_t i, MultiLevelRoiAlignAttributes const* attributes)
{
    bool const isGiven = attributes != nullptr;
    switch (i)
    {
    case 0: return {"output_size", isGiven ? &attributes->outputSize : nullptr, PluginFieldType::kINT32, 1};
    case 1: return {"strides", isGiven ? attributes->strides.data() : nullptr, PluginFieldType::kINT32, kRoiLevels};
    default: return {"finest_scale", isGiven ? &attributes->finestScale : nullptr, PluginFieldType::kINT32, 1};
    }
}

void MultiLevelRoiAlignAttributes::validate() const
{
    require(outputSize >= 1 && outputSize <= 1024,
        [&] { return "output_size is " + std::to_string(outputSize) + ", it must be from 1 to 1024"; });
    require(
        finestScale >= 1, [&] { return "finest_scale is " + std::to_string(finestScale) + ", it must be at least 1"; });
    for (int32_t const stride : strides)
    {
        require(stride >= 1, [&] { return "a stride is " + std::to_string(stride) + ", it must be at least 1"; });
    }
}

MultiLevelRoiAlignPlugin::MultiLevelRoiAlignPlugin(MultiLevelRoiAlignAttributes const& attributes)
    : NodePlugin{attributes}
{
}

void MultiLevelRoiAlignPlugin::checkShapes(std::array<nvinfer1::Dims, kInputs> const& inputs) const
{
    nvinfer1::Dims const& finest = inputs[0];
    for (int32_t i = 0; i < kRoiLevels; ++i)
    {
        nvinfer1::Dims const& map = inputs[static_cast<size_t>(i)];
        require(map.nbDims == 4 && agree(map.d[0], finest.d[0]) && agree(map.d[1], finest.d[1]) && map.d[1] != 0
                && map.d[2] != 0 && map.d[3] != 0,
            [&]
            {
                return "map " + std::to_string(i) + " has the shape " + str(map) + " where the first has " + str(finest)
                    + ", expected (batch, channels, height, width), alike in the first two";
            });
    }
    nvinfer1::Dims const& boxes = inputs[kRoiLevels];
    require(boxes.nbDims == 3 && agree(boxes.d[0], finest.d[0]) && agree(boxes.d[2], 4), [&]
        { return "boxes have the shape " + str(boxes) + " for maps " + str(finest) + ", expected (batch, boxes, 4)"; });
}

int32_t MultiLevelRoiAlignPlugin::getOutputDataTypes(
    DataType* outputTypes, int32_t, DataType const* inputTypes, int32_t) const noexcept
{
    outputTypes[0] = inputTypes[0];
    return 0;
}

int32_t MultiLevelRoiAlignPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
    nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
    nvinfer1::IExprBuilder& exprBuilder) noexcept
{
    if (checkedExpressions(inputs, nbInputs, nbOutputs) != 0)
    {
        return -1;
    }
    outputs[0].nbDims = 5; // (B, N, C, out, out)
    outputs[0].d[0] = inputs[0].d[0];
    outputs[0].d[1] = inputs[kRoiLevels].d[1];
    outputs[0].d[2] = inputs[0].d[1];
    outputs[0].d[3] = exprBuilder.constant(attributes().outputSize);
    outputs[0].d[4] = exprBuilder.constant(attributes().outputSize);
    return 0;
}

bool MultiLevelRoiAlignPlugin::supportsFormatCombination(
    int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t, int32_t) noexcept
{
    nvinfer1::PluginTensorDesc const& tensor = inOut[pos].desc;
    bool typeFits = false;
    switch (pos)
    {
    case 0: typeFits = isElement(tensor.type); break;                   // the finest map
    case kRoiLevels: typeFits = tensor.type == DataType::kFLOAT; break; // boxes: half resolves half a pixel above 512
    default: typeFits = tensor.type == inOut[0].desc.type; break;       // the other maps, the output
    }
    return typeFits && tensor.format == nvinfer1::TensorFormat::kLINEAR;
}

int32_t MultiLevelRoiAlignPlugin::enqueue(nvinfer1::PluginTensorDesc const* inputDesc,
    nvinfer1::PluginTensorDesc const*, void const* const* inputs, void* const* outputs, void*,
    cudaStream_t stream) noexcept
{
    MultiLevelRoiAlignParams params{};
    for (int32_t i = 0; i < kRoiLevels; ++i)
    {
        nvinfer1::Dims const& map = inputDesc[i].dims;
        params.maps[i] = {inputs[i], static_cast<int32_t>(map.d[2]), static_cast<int32_t>(map.d[3]),
            static_cast<float>(attributes().strides[static_cast<size_t>(i)])};
    }
    params.batch = inputDesc[0].dims.d[0];
    params.count = inputDesc[kRoiLevels].dims.d[1];
    params.channels = inputDesc[0].dims.d[1];
    params.outputSize = attributes().outputSize;
    params.finestScale = static_cast<float>(attributes().finestScale);
    params.element = elementOf(inputDesc[0].type);
    params.boxes = static_cast<float const*>(inputs[kRoiLevels]);
    params.output = outputs[0];
    return launchMultiLevelRoiAlign(params, stream);
}

} // namespace sparsevit
