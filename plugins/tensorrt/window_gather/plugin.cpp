#include "tensorrt/window_gather/plugin.h"

#include "kernels/window_gather/kernel.h"

namespace sparsevit
{

using nvinfer1::DataType;

WindowGatherPlugin::WindowGatherPlugin(WindowAttributes const& attributes)
    : NodePlugin{attributes}
{
}

void WindowGatherPlugin::checkShapes(std::array<nvinfer1::Dims, kInputs> const& inputs) const
{
    checkMap(attributes(), inputs[0]);
    checkIndex(attributes(), inputs[0], inputs[1]);
}

int32_t WindowGatherPlugin::getOutputDataTypes(
    DataType* outputTypes, int32_t, DataType const* inputTypes, int32_t) const noexcept
{
    outputTypes[0] = inputTypes[0];
    return 0;
}

int32_t WindowGatherPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
    nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
    nvinfer1::IExprBuilder& exprBuilder) noexcept
{
    if (checkedExpressions(inputs, nbInputs, nbOutputs) != 0)
    {
        return -1;
    }
    outputs[0].nbDims = 4; // (B, k, T, C)
    outputs[0].d[0] = inputs[0].d[0];
    outputs[0].d[1] = inputs[1].d[1];
    outputs[0].d[2] = exprBuilder.constant(attributes().grid().tokens());
    outputs[0].d[3] = inputs[0].d[3];
    return 0;
}

bool WindowGatherPlugin::supportsFormatCombination(
    int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t, int32_t) noexcept
{
    nvinfer1::PluginTensorDesc const& tensor = inOut[pos].desc;
    bool typeFits = false;
    switch (pos)
    {
    case 0: typeFits = isElement(tensor.type); break;             // x
    case 1: typeFits = isIndex(tensor.type); break;               // index
    default: typeFits = tensor.type == inOut[0].desc.type; break; // windows
    }
    return typeFits && tensor.format == nvinfer1::TensorFormat::kLINEAR;
}

int32_t WindowGatherPlugin::enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const*,
    void const* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept
{
    nvinfer1::PluginTensorDesc const& x = inputDesc[0];
    nvinfer1::PluginTensorDesc const& index = inputDesc[1];
    WindowGatherParams params{};
    params.grid = attributes().grid();
    params.batch = x.dims.d[0];
    params.count = index.dims.d[1];
    params.channels = x.dims.d[3];
    params.elementBytes = bytesOf(x.type);
    params.indexBytes = bytesOf(index.type);
    params.x = inputs[0];
    params.index = inputs[1];
    params.windows = outputs[0];
    return launchWindowGather(params, stream);
}

} // namespace sparsevit
