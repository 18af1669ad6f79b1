#include "tensorrt/window_gather_norm/plugin.h"

#include "kernels/window_gather_norm/kernel.h"
#include "tensorrt/fields.h"

namespace sparsevit
{

using fields::require;
using nvinfer1::DataType;

WindowNormAttributes WindowNormAttributes::read(nvinfer1::PluginFieldCollection const& given)
{
    WindowNormAttributes result;
    result.window = WindowAttributes::read(given);
    result.epsilon = fields::number(fields::required(given, "epsilon"));
    return result;
}

nvinfer1::PluginField WindowNormAttributes::field(int32_t i, WindowNormAttributes const* attributes)
{
    if (i < WindowAttributes::kRequired)
    {
        return WindowAttributes::field(i, attributes == nullptr ? nullptr : &attributes->window);
    }
    float const* const value = attributes == nullptr ? nullptr : &attributes->epsilon;
    return {"epsilon", value, nvinfer1::PluginFieldType::kFLOAT32, 1};
}

void WindowNormAttributes::validate() const
{
    window.validate();
    require(epsilon >= 0.0F,
        [&] { return "epsilon is " + std::to_string(epsilon) + ", it must be a number that is not negative"; });
}

WindowGatherNormPlugin::WindowGatherNormPlugin(WindowNormAttributes const& attributes)
    : NodePlugin{attributes}
{
}

void WindowGatherNormPlugin::checkShapes(std::array<nvinfer1::Dims, kInputs> const& inputs) const
{
    checkMap(attributes().window, inputs[0]);
    checkIndex(attributes().window, inputs[0], inputs[1]);
    checkChannels("scale", inputs[0], inputs[2]);
    checkChannels("bias", inputs[0], inputs[3]);
}

int32_t WindowGatherNormPlugin::getOutputDataTypes(
    DataType* outputTypes, int32_t, DataType const* inputTypes, int32_t) const noexcept
{
    outputTypes[0] = inputTypes[0];
    outputTypes[1] = inputTypes[0];
    return 0;
}

int32_t WindowGatherNormPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
    nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
    nvinfer1::IExprBuilder& exprBuilder) noexcept
{
    if (checkedExpressions(inputs, nbInputs, nbOutputs) != 0)
    {
        return -1;
    }
    outputs[0].nbDims = 3; // (B, k * t, C)
    outputs[0].d[0] = inputs[0].d[0];
    outputs[0].d[1] = exprBuilder.operation(nvinfer1::DimensionOperation::kPROD, *inputs[1].d[1],
        *exprBuilder.constant(attributes().window.grid().tokens()));
    outputs[0].d[2] = inputs[0].d[3];
    outputs[1] = outputs[0];
    return 0;
}

bool WindowGatherNormPlugin::supportsFormatCombination(
    int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t, int32_t) noexcept
{
    nvinfer1::PluginTensorDesc const& tensor = inOut[pos].desc;
    bool typeFits = false;
    switch (pos)
    {
    case 0: typeFits = isElement(tensor.type); break;             // x
    case 1: typeFits = isIndex(tensor.type); break;               // index
    default: typeFits = tensor.type == inOut[0].desc.type; break; // scale, bias, tokens, normed
    }
    return typeFits && tensor.format == nvinfer1::TensorFormat::kLINEAR;
}

int32_t WindowGatherNormPlugin::enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const*,
    void const* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept
{
    nvinfer1::PluginTensorDesc const& x = inputDesc[0];
    nvinfer1::PluginTensorDesc const& index = inputDesc[1];
    WindowGatherNormParams params{};
    params.grid = attributes().window.grid();
    params.batch = x.dims.d[0];
    params.count = index.dims.d[1];
    params.channels = x.dims.d[3];
    params.element = elementOf(x.type);
    params.indexBytes = bytesOf(index.type);
    params.epsilon = attributes().epsilon;
    params.x = inputs[0];
    params.index = inputs[1];
    params.scale = inputs[2];
    params.bias = inputs[3];
    params.tokens = outputs[0];
    params.normed = outputs[1];
    return launchWindowGatherNorm(params, stream);
}

} // namespace sparsevit
