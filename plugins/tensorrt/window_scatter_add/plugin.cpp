#include "tensorrt/window_scatter_add/plugin.h"

#include "kernels/window_scatter_add/kernel.h"

namespace sparsevit
{

using nvinfer1::DataType;

WindowScatterAddPlugin::WindowScatterAddPlugin(WindowAttributes const& attributes)
    : NodePlugin{attributes}
{
    requireAliasedIo(attributes);
}

void WindowScatterAddPlugin::checkShapes(std::array<nvinfer1::Dims, kInputs> const& inputs) const
{
    checkMap(attributes(), inputs[0]);
    checkIndex(attributes(), inputs[0], inputs[4]);
    checkTokens("tokens", attributes(), inputs[0], inputs[1], inputs[4]);
    checkTokens("update", attributes(), inputs[0], inputs[2], inputs[4]);
    checkChannels("bias", inputs[0], inputs[3]);
}

int32_t WindowScatterAddPlugin::getOutputDataTypes(
    DataType* outputTypes, int32_t, DataType const* inputTypes, int32_t) const noexcept
{
    outputTypes[0] = inputTypes[0];
    return 0;
}

int32_t WindowScatterAddPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
    nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
    nvinfer1::IExprBuilder&) noexcept
{
    if (checkedExpressions(inputs, nbInputs, nbOutputs) != 0)
    {
        return -1;
    }
    outputs[0] = inputs[0]; // (B, H, W, C)
    return 0;
}

bool WindowScatterAddPlugin::supportsFormatCombination(
    int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t, int32_t) noexcept
{
    nvinfer1::PluginTensorDesc const& tensor = inOut[pos].desc;
    bool typeFits = false;
    switch (pos)
    {
    case 0: typeFits = isElement(tensor.type); break;             // x
    case 4: typeFits = isIndex(tensor.type); break;               // index
    default: typeFits = tensor.type == inOut[0].desc.type; break; // tokens, update, bias, y
    }
    return typeFits && tensor.format == nvinfer1::TensorFormat::kLINEAR;
}

#if SPARSEVIT_ALIASED_IO
int32_t WindowScatterAddPlugin::getAliasedInput(int32_t outputIndex) noexcept
{
    return outputIndex == 0 && attributes().inPlace() ? 0 : -1;
}
#endif

int32_t WindowScatterAddPlugin::enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const*,
    void const* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept
{
    nvinfer1::PluginTensorDesc const& x = inputDesc[0];
    nvinfer1::PluginTensorDesc const& index = inputDesc[4];
    WindowScatterAddParams params{};
    params.grid = attributes().grid();
    params.batch = x.dims.d[0];
    params.count = index.dims.d[1];
    params.channels = x.dims.d[3];
    params.element = elementOf(x.type);
    params.indexBytes = bytesOf(index.type);
    params.x = inputs[0];
    params.tokens = inputs[1];
    params.update = inputs[2];
    params.bias = inputs[3];
    params.index = inputs[4];
    params.y = outputs[0];
    return launchWindowScatterAdd(params, stream);
}

} // namespace sparsevit
