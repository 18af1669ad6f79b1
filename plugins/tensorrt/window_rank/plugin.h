// TensorRT plugin `WindowRank`; see README.md beside this file.
#pragma once

#include "tensorrt/attributes.h"
#include "tensorrt/node_plugin.h"

namespace sparsevit
{

class WindowRankPlugin final : public NodePlugin<WindowRankPlugin, WindowAttributes>
{
public:
    static constexpr char const* kName{"WindowRank"};
    static constexpr int32_t kInputs{1}; //!< x
    static constexpr int32_t kAttributes{WindowAttributes::kRequired};

    //! \throw std::invalid_argument for attributes out of range.
    explicit WindowRankPlugin(WindowAttributes const& attributes);

    void checkShapes(std::array<nvinfer1::Dims, kInputs> const& inputs) const;

    int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs, nvinfer1::DataType const* inputTypes,
        int32_t nbInputs) const noexcept override;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs, nvinfer1::DimsExprs const* shapeInputs,
        int32_t nbShapeInputs, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
        nvinfer1::IExprBuilder& exprBuilder) noexcept override;
    bool supportsFormatCombination(int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
        int32_t nbOutputs) noexcept override;
    size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t nbInputs,
        nvinfer1::DynamicPluginTensorDesc const* outputs, int32_t nbOutputs) const noexcept override;
    int32_t enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const* outputDesc,
        void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
};

} // namespace sparsevit
