// One run of one node: its tensors and its stream.
#pragma once

#include "onnxruntime/api.h"
#include "onnxruntime/tensors.h"
#include "onnxruntime/text.h"

#include <cstddef>

namespace sparsevit
{
namespace ort
{

class KernelCall
{
public:
    KernelCall(Api const& api, KernelContext* context)
        : mApi{api}
        , mContext{context}
    {
    }

    bool readInputs(size_t count, Tensor* inputs, Text& error) const;
    //! \param shapes, outputs What they are to be, and what they are then.
    bool makeOutputs(size_t count, Shape const* shapes, Tensor* outputs, Text& error) const;

    Value const* firstInput() const;
    //! The CUDA stream that the provider computes on; null on the CPU.
    void* stream() const;

    Status* failed(ErrorCode code, char const* node, Text const& error) const;

private:
    bool describe(Value const* value, Tensor& tensor) const;

    Api mApi;
    KernelContext* mContext;
};

//! The name of a node, for errors.
class NodeName
{
public:
    NodeName(Api const& api, KernelInfo const* info);

    char const* bytes() const
    {
        return mBytes;
    }

private:
    static constexpr size_t kRoom{256};

    char mBytes[kRoom]{};
};

} // namespace ort
} // namespace sparsevit
