#include "onnxruntime/attributes.h"

namespace sparsevit
{
namespace ort
{

//! Whether there is an attribute of that name and kind with so many bytes of values, which are read.
bool Attributes::find(char const* name, AttributeKind kind, size_t bytes, void* values) const
{
    if (mNode == nullptr)
    {
        Attribute const* found = nullptr;
        size_t read = 0;
        return mApi.succeeded(mApi.call<kShapeInferContext_GetAttribute>(mContext, name, &found)) && found != nullptr
            && mApi.succeeded(mApi.call<kReadOpAttr>(found, static_cast<int32_t>(kind), values, bytes, &read));
    }
    if (kind == AttributeKind::kInt)
    {
        return mApi.succeeded(mApi.call<kKernelInfoGetAttribute_int64>(mNode, name, static_cast<int64_t*>(values)));
    }
    if (kind == AttributeKind::kFloat)
    {
        return mApi.succeeded(mApi.call<kKernelInfoGetAttribute_float>(mNode, name, static_cast<float*>(values)));
    }
    size_t count = 0;
    int64_t* const none = nullptr;
    return mApi.succeeded(mApi.call<kKernelInfoGetAttributeArray_int64>(mNode, name, none, &count))
        && count * sizeof(int64_t) == bytes
        && mApi.succeeded(
            mApi.call<kKernelInfoGetAttributeArray_int64>(mNode, name, static_cast<int64_t*>(values), &count));
}

bool Attributes::narrow(char const* name, int64_t wide, int32_t& value, Text& error) const
{
    if (wide < INT32_MIN || wide > INT32_MAX)
    {
        error << "attribute '" << name << "' is " << wide << ", beyond 32 bits; export the model again";
        return false;
    }
    value = static_cast<int32_t>(wide);
    return true;
}

bool Attributes::read(char const* name, int32_t& value, Text& error) const
{
    int64_t wide = 0;
    if (!find(name, AttributeKind::kInt, sizeof(wide), &wide))
    {
        error << "attribute '" << name << "' is missing, or not one integer; export the model again";
        return false;
    }
    return narrow(name, wide, value, error);
}

bool Attributes::readOptional(char const* name, int32_t& value, Text& error) const
{
    int64_t wide = 0;
    return !find(name, AttributeKind::kInt, sizeof(wide), &wide) || narrow(name, wide, value, error);
}

bool Attributes::read(char const* name, int32_t count, int32_t* values, Text& error) const
{
    int64_t wide[kMostIntegers]{};
    if (!find(name, AttributeKind::kInts, sizeof(int64_t) * static_cast<size_t>(count), wide))
    {
        error << "attribute '" << name << "' is missing, or not " << int64_t{count}
              << " integers; export the model again";
        return false;
    }
    for (int32_t i = 0; i < count; ++i)
    {
        if (!narrow(name, wide[i], values[i], error))
        {
            return false;
        }
    }
    return true;
}

bool Attributes::read(char const* name, float& value, Text& error) const
{
    if (!find(name, AttributeKind::kFloat, sizeof(value), &value))
    {
        error << "attribute '" << name << "' is missing, or not one float; export the model again";
        return false;
    }
    return true;
}

} // namespace ort
} // namespace sparsevit
