#include "tensorrt/window_rank/plugin.h"

#include "kernels/window_rank/kernel.h"

namespace sparsevit
{

using nvinfer1::DataType;

WindowRankPlugin::WindowRankPlugin(WindowAttributes const& attributes)
    : NodePlugin{attributes}
{
}

void WindowRankPlugin::checkShapes(std::array<nvinfer1::Dims, kInputs> const& inputs) const
{
    checkMap(attributes(), inputs[0]);
}

int32_t WindowRankPlugin::getOutputDataTypes(DataType* outputTypes, int32_t, DataType const*, int32_t) const noexcept
{
    outputTypes[0] = DataType::kINT32;
    return 0;
}

int32_t WindowRankPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
    nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
    nvinfer1::IExprBuilder& exprBuilder) noexcept
{
    if (checkedExpressions(inputs, nbInputs, nbOutputs) != 0)
    {
        return -1;
    }
    outputs[0].nbDims = 2; // (B, nW)
    outputs[0].d[0] = inputs[0].d[0];
    outputs[0].d[1] = exprBuilder.constant(attributes().grid().windows());
    return 0;
}

bool WindowRankPlugin::supportsFormatCombination(
    int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t, int32_t) noexcept
{
    nvinfer1::PluginTensorDesc const& tensor = inOut[pos].desc;
    bool const typeFits = pos == 0 ? isElement(tensor.type) : tensor.type == DataType::kINT32;
    return typeFits && tensor.format == nvinfer1::TensorFormat::kLINEAR;
}

size_t WindowRankPlugin::getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t,
    nvinfer1::DynamicPluginTensorDesc const*, int32_t) const noexcept
{
    return windowRankWorkspace(attributes().grid(), inputs[0].max.d[0]);
}

int32_t WindowRankPlugin::enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const*,
    void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept
{
    nvinfer1::PluginTensorDesc const& x = inputDesc[0];
    WindowRankParams params{};
    params.grid = attributes().grid();
    params.batch = x.dims.d[0];
    params.channels = x.dims.d[3];
    params.element = elementOf(x.type);
    params.x = inputs[0];
    params.order = static_cast<int32_t*>(outputs[0]);
    params.workspace = workspace;
    return launchWindowRank(params, stream);
}

} // namespace sparsevit
