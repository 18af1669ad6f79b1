#include "tensorrt/window_attention/plugin.h"

#include "kernels/window_attention/kernel.h"
#include "tensorrt/fields.h"

namespace sparsevit
{

using fields::agree;
using fields::require;
using fields::str;
using nvinfer1::DataType;
using nvinfer1::PluginFieldType;

WindowAttentionAttributes WindowAttentionAttributes::read(nvinfer1::PluginFieldCollection const& given)
{
    WindowAttentionAttributes result;
    result.heads = fields::integer(fields::required(given, "heads"));
    result.windowSize = fields::integer(fields::required(given, "window_size"));
    return result;
}

nvinfer1::PluginField WindowAttentionAttributes::field(int32_t i, WindowAttentionAttributes const* attributes)
{
    bool const isGiven = attributes != nullptr;
    return i == 0
        ? nvinfer1::PluginField{"heads", isGiven ? &attributes->heads : nullptr, PluginFieldType::kINT32, 1}
        : nvinfer1::PluginField{"window_size", isGiven ? &attributes->windowSize : nullptr, PluginFieldType::kINT32, 1};
}

void WindowAttentionAttributes::validate() const
{
    require(heads >= 1, [&] { return "heads is " + std::to_string(heads) + ", it must be at least 1"; });
    require(windowSize >= 1 && windowSize <= 4096,
        [&] { return "window_size is " + std::to_string(windowSize) + ", it must be from 1 to 4096"; });
}

WindowAttentionPlugin::WindowAttentionPlugin(WindowAttentionAttributes const& attributes)
    : NodePlugin{attributes}
{
}

void WindowAttentionPlugin::checkShapes(std::array<nvinfer1::Dims, kInputs> const& inputs) const
{
    nvinfer1::Dims const& qkv = inputs[0];
    nvinfer1::Dims const& qkvBias = inputs[1];
    nvinfer1::Dims const& index = inputs[2];
    nvinfer1::Dims const& kind = inputs[3];
    nvinfer1::Dims const& positionBias = inputs[4];
    int64_t const heads = attributes().heads;
    int64_t const tokens = attributes().tokens();
    int64_t const columns = qkv.nbDims == 3 ? qkv.d[2] : 0;
    require(columns < 0 || (columns > 0 && columns % (3 * heads) == 0),
        [&]
        {
            return "qkv has the shape " + str(qkv) + ", expected (batch, tokens, 3 * channels), channels a multiple of "
                + std::to_string(heads) + " heads";
        });
    bool const isListed = index.nbDims == 2 && agree(index.d[0], qkv.d[0]);
    require(isListed && agree(qkv.d[1], index.d[1] < 0 ? -1 : index.d[1] * tokens),
        [&]
        {
            return "index has the shape " + str(index) + " for qkv " + str(qkv) + ", expected (batch, windows of "
                + std::to_string(tokens) + " tokens)";
        });
    require(qkvBias.nbDims == 1 && agree(qkvBias.d[0], columns), [&]
        { return "qkv_bias has the shape " + str(qkvBias) + " for qkv " + str(qkv) + ", expected (3 * channels)"; });
    require(kind.nbDims == 1 && kind.d[0] != 0,
        [&] { return "kind has the shape " + str(kind) + ", expected (all windows)"; });
    require(positionBias.nbDims == 4 && positionBias.d[0] != 0 && agree(positionBias.d[1], heads)
            && agree(positionBias.d[2], tokens) && agree(positionBias.d[3], tokens),
        [&]
        {
            return "position_bias has the shape " + str(positionBias) + ", expected (kinds, " + std::to_string(heads)
                + ", " + std::to_string(tokens) + ", " + std::to_string(tokens) + ")";
        });
}

int32_t WindowAttentionPlugin::getOutputDataTypes(
    DataType* outputTypes, int32_t, DataType const* inputTypes, int32_t) const noexcept
{
    outputTypes[0] = inputTypes[0];
    return 0;
}

int32_t WindowAttentionPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
    nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
    nvinfer1::IExprBuilder& exprBuilder) noexcept
{
    if (checkedExpressions(inputs, nbInputs, nbOutputs) != 0)
    {
        return -1;
    }
    outputs[0].nbDims = 3; // (B, k * t, C)
    outputs[0].d[0] = inputs[0].d[0];
    outputs[0].d[1] = inputs[0].d[1];
    outputs[0].d[2] =
        exprBuilder.operation(nvinfer1::DimensionOperation::kFLOOR_DIV, *inputs[0].d[2], *exprBuilder.constant(3));
    return 0;
}

bool WindowAttentionPlugin::supportsFormatCombination(
    int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t, int32_t) noexcept
{
    nvinfer1::PluginTensorDesc const& tensor = inOut[pos].desc;
    bool typeFits = false;
    switch (pos)
    {
    case 0: typeFits = isElement(tensor.type); break;             // qkv
    case 2: typeFits = isIndex(tensor.type); break;               // index
    case 3: typeFits = tensor.type == DataType::kINT32; break;    // kind
    default: typeFits = tensor.type == inOut[0].desc.type; break; // qkv_bias, position_bias, output
    }
    return typeFits && tensor.format == nvinfer1::TensorFormat::kLINEAR;
}

int32_t WindowAttentionPlugin::enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const*,
    void const* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept
{
    nvinfer1::PluginTensorDesc const& qkv = inputDesc[0];
    nvinfer1::PluginTensorDesc const& index = inputDesc[2];
    WindowAttentionParams params{};
    params.batch = qkv.dims.d[0];
    params.count = index.dims.d[1];
    params.channels = qkv.dims.d[2] / 3;
    params.heads = attributes().heads;
    params.windowSize = attributes().windowSize;
    params.windows = inputDesc[3].dims.d[0];
    params.kinds = inputDesc[4].dims.d[0];
    params.element = elementOf(qkv.type);
    params.indexBytes = bytesOf(index.type);
    params.qkv = inputs[0];
    params.qkvBias = inputs[1];
    params.index = inputs[2];
    params.kind = static_cast<int32_t const*>(inputs[3]);
    params.positionBias = inputs[4];
    params.output = outputs[0];
    return launchWindowAttention(params, stream);
}

} // namespace sparsevit
