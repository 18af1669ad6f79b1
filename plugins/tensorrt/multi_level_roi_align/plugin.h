// TensorRT plugin `MultiLevelRoiAlign`; see README.md beside this file.
#pragma once

#include "kernels/multi_level_roi_align/sampling.h"
#include "tensorrt/node_plugin.h"

namespace sparsevit
{

struct MultiLevelRoiAlignAttributes
{
    static constexpr int32_t kCount{3};

    int32_t outputSize{0};
    std::array<int32_t, kRoiLevels> strides{};
    int32_t finestScale{56};

    //! \throw std::invalid_argument for a field that is missing (finest_scale may be) or of another type. Other fields
    //! are ignored.
    static MultiLevelRoiAlignAttributes read(nvinfer1::PluginFieldCollection const& given);

    //! The i-th field, pointing at the values if there are any.
    static nvinfer1::PluginField field(int32_t i, MultiLevelRoiAlignAttributes const* attributes);

    //! \throw std::invalid_argument unless all are positive and the output is at most 1024 bins wide.
    void validate() const;
};

class MultiLevelRoiAlignPlugin final : public NodePlugin<MultiLevelRoiAlignPlugin, MultiLevelRoiAlignAttributes>
{
public:
    static constexpr char const* kName{"MultiLevelRoiAlign"};
    static constexpr int32_t kInputs{kRoiLevels + 1}; //!< the maps, finest first, and boxes
    static constexpr int32_t kAttributes{MultiLevelRoiAlignAttributes::kCount};

    //! \throw std::invalid_argument for attributes out of range.
    explicit MultiLevelRoiAlignPlugin(MultiLevelRoiAlignAttributes const& attributes);

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
