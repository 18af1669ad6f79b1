// TensorRT plugin `WindowGatherNorm`; see README.md beside this file.
#pragma once

#include "tensorrt/attributes.h"
#include "tensorrt/node_plugin.h"

namespace sparsevit
{

//! Those of a window node, and what LayerNorm adds to the variance.
struct WindowNormAttributes
{
    static constexpr int32_t kCount{WindowAttributes::kRequired + 1};

    WindowAttributes window{};
    float epsilon{0.0F};

    //! \throw std::invalid_argument for a field that is missing or of another type. Other fields are ignored.
    static WindowNormAttributes read(nvinfer1::PluginFieldCollection const& given);

    //! The i-th field, pointing at the value if there are values.
    static nvinfer1::PluginField field(int32_t i, WindowNormAttributes const* attributes);

    //! \throw std::invalid_argument for a window that is none, and unless epsilon is a number that is not negative.
    void validate() const;
};

class WindowGatherNormPlugin final : public NodePlugin<WindowGatherNormPlugin, WindowNormAttributes>
{
public:
    static constexpr char const* kName{"WindowGatherNorm"};
    static constexpr int32_t kInputs{4};  //!< x, index, scale, bias
    static constexpr int32_t kOutputs{2}; //!< tokens, normed
    static constexpr int32_t kAttributes{WindowNormAttributes::kCount};

    //! \throw std::invalid_argument for attributes out of range.
    explicit WindowGatherNormPlugin(WindowNormAttributes const& attributes);

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
