// TensorRT plugin `WindowAttention`; see README.md beside this file.
#pragma once

#include "tensorrt/node_plugin.h"

namespace sparsevit
{

struct WindowAttentionAttributes
{
    static constexpr int32_t kCount{2};

    int32_t heads{0};
    int32_t windowSize{0};

    //! \throw std::invalid_argument for a field that is missing or of another type. Other fields are ignored.
    static WindowAttentionAttributes read(nvinfer1::PluginFieldCollection const& given);

    //! The i-th field, pointing at the value if there are values.
    static nvinfer1::PluginField field(int32_t i, WindowAttentionAttributes const* attributes);

    //! \throw std::invalid_argument unless heads is at least 1 and window_size from 1 to 4096.
    void validate() const;

    int32_t tokens() const
    {
        return windowSize * windowSize;
    }
};

class WindowAttentionPlugin final : public NodePlugin<WindowAttentionPlugin, WindowAttentionAttributes>
{
public:
    static constexpr char const* kName{"WindowAttention"};
    static constexpr int32_t kInputs{5}; //!< qkv, qkv_bias, index, kind, position_bias
    static constexpr int32_t kAttributes{WindowAttentionAttributes::kCount};

    //! \throw std::invalid_argument for attributes out of range.
    explicit WindowAttentionPlugin(WindowAttentionAttributes const& attributes);

    void checkShapes(std::array<nvinfer1::Dims, kInputs> const& inputs) const;

    int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs, nvinfer1::DataType const* inputTypes,
        int32_t nbInputs) const noexcept override;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs, nvinfer1::DimsExprs const* shapeInputs,
        int32_t nbShapeInputs, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
        nvinfer1::IExprBuilder& exprBuilder) noexcept override;
    bool supportsFormatCombination(int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
        int32_t nbOutputs) noexcept override;
    int32_t enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const* outputDesc,
        void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
};

} // namespace sparsevit
