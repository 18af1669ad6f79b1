// TensorRT plugin `NmsKeep`; see README.md beside this file.
#pragma once

#include "tensorrt/node_plugin.h"

namespace sparsevit
{

struct NmsKeepAttributes
{
    static constexpr int32_t kCount{3};

    float iou{0.0F};
    float scoreThreshold{0.0F};
    int32_t limit{0};

    //! \throw std::invalid_argument for a field that is missing or of another type. Other fields are ignored.
    static NmsKeepAttributes read(nvinfer1::PluginFieldCollection const& given);

    //! The i-th field, pointing at the value if there are values.
    static nvinfer1::PluginField field(int32_t i, NmsKeepAttributes const* attributes);

    //! \throw std::invalid_argument unless iou is from 0 to 1, the score threshold a number, and limit not negative.
    void validate() const;
};

class NmsKeepPlugin final : public NodePlugin<NmsKeepPlugin, NmsKeepAttributes>
{
public:
    static constexpr char const* kName{"NmsKeep"};
    static constexpr int32_t kInputs{2}; //!< boxes, scores
    static constexpr int32_t kAttributes{NmsKeepAttributes::kCount};

    //! \throw std::invalid_argument for attributes out of range.
    explicit NmsKeepPlugin(NmsKeepAttributes const& attributes);

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
