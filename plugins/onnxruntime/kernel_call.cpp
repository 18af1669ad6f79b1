#include "onnxruntime/kernel_call.h"

namespace sparsevit
{
namespace ort
{

bool KernelCall::readInputs(size_t count, Tensor* inputs, Text& error) const
{
    size_t given = 0;
    mApi.succeeded(mApi.call<kKernelContext_GetInputCount>(mContext, &given));
    if (given != count)
    {
        error << "has " << static_cast<int64_t>(given) << " inputs, expected " << static_cast<int64_t>(count)
              << "; export the model again";
        return false;
    }
    for (size_t i = 0; i < count; ++i)
    {
        Value const* value = nullptr;
        if (!mApi.succeeded(mApi.call<kKernelContext_GetInput>(mContext, i, &value)) || value == nullptr
            || !describe(value, inputs[i]))
        {
            error << "input " << static_cast<int64_t>(i) << " is no tensor of at most " << int64_t{Shape::kMost}
                  << " dimensions; export the model again";
            return false;
        }
    }
    return true;
}

bool KernelCall::makeOutputs(size_t count, Shape const* shapes, Tensor* outputs, Text& error) const
{
    for (size_t i = 0; i < count; ++i)
    {
        Value* value = nullptr;
        int64_t const* const sizes = shapes[i].sizes;
        auto const rank = static_cast<size_t>(shapes[i].rank);
        if (!mApi.succeeded(mApi.call<kKernelContext_GetOutput>(mContext, i, sizes, rank, &value))
            || value == nullptr || !describe(value, outputs[i]))
        {
            error << "there is no memory for output " << static_cast<int64_t>(i) << " " << shapes[i];
            return false;
        }
    }
    return true;
}

Value const* KernelCall::firstInput() const
{
    Value const* value = nullptr;
    mApi.succeeded(mApi.call<kKernelContext_GetInput>(mContext, size_t{0}, &value));
    return value;
}

void* KernelCall::stream() const
{
    void* stream = nullptr;
    mApi.succeeded(mApi.call<kKernelContext_GetGPUComputeStream>(mContext, &stream));
    return stream;
}

Status* KernelCall::failed(ErrorCode code, char const* node, Text const& error) const
{
    Text text;
    text << node << ": " << error.bytes();
    return mApi.error(code, text.bytes());
}

bool KernelCall::describe(Value const* value, Tensor& tensor) const
{
    ShapeInfo* info = nullptr;
    if (!mApi.succeeded(mApi.call<kGetTensorTypeAndShape>(value, &info)))
    {
        return false;
    }
    size_t rank = 0;
    auto* const known = static_cast<ShapeInfo const*>(info);
    bool good = mApi.succeeded(mApi.call<kGetTensorElementType>(known, &tensor.type))
        && mApi.succeeded(mApi.call<kGetDimensionsCount>(known, &rank)) && rank <= size_t{Shape::kMost};
    if (good)
    {
        tensor.shape.rank = static_cast<int32_t>(rank);
        good = mApi.succeeded(mApi.call<kGetDimensions>(known, tensor.shape.sizes, rank))
            && mApi.succeeded(mApi.call<kGetTensorMutableData>(const_cast<Value*>(value), &tensor.data));
    }
    mApi.release<kReleaseTensorTypeAndShapeInfo>(info);
    return good;
}

NodeName::NodeName(Api const& api, KernelInfo const* info)
{
    size_t size = kRoom;
    if (!api.succeeded(api.call<kKernelInfo_GetNodeName>(info, mBytes, &size)))
    {
        mBytes[0] = '\0'; // longer than there is room for
    }
}

} // namespace ort
} // namespace sparsevit
