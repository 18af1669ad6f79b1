#include "onnxruntime/shape_inference.h"

#include <atomic>
#include <cstring>

namespace sparsevit
{
namespace ort
{
namespace
{

std::atomic<void const*> gTable{nullptr}; // the same in every session of a process

} // namespace

Api const* ShapeInference::api()
{
    static Api const found{gTable.load()};
    return &found;
}

void ShapeInference::useApi(void const* table)
{
    gTable = table;
}

bool ShapeInference::readInputs(size_t count, Shape* shapes)
{
    size_t given = 0;
    if (!mApi.succeeded(mApi.call<kShapeInferContext_GetInputCount>(mContext, &given)) || given != count)
    {
        return false;
    }
    for (size_t i = 0; i < count; ++i)
    {
        ShapeInfo* info = nullptr; // the context's own
        size_t rank = 0;
        if (!mApi.succeeded(mApi.call<kShapeInferContext_GetInputTypeShape>(mContext, i, &info)) || info == nullptr)
        {
            return false;
        }
        auto* const known = static_cast<ShapeInfo const*>(info);
        char const* names[Shape::kMost]{};
        // A shape that is not known looks like that of a number.
        if (!mApi.succeeded(mApi.call<kGetDimensionsCount>(known, &rank)) || rank == 0 || rank > size_t{Shape::kMost}
            || !mApi.succeeded(mApi.call<kGetDimensions>(known, shapes[i].sizes, rank))
            || !mApi.succeeded(mApi.call<kGetSymbolicDimensions>(known, names, rank)))
        {
            return false;
        }
        shapes[i].rank = static_cast<int32_t>(rank);
        for (size_t j = 0; j < rank; ++j)
        {
            int64_t& size = shapes[i].sizes[j];
            size = size < 0 ? sizeOf(names[j]) : size;
        }
    }
    return true;
}

void ShapeInference::setOutputs(size_t count, Shape const* shapes)
{
    for (size_t i = 0; i < count; ++i)
    {
        bool isKnown = true;
        for (int32_t j = 0; j < shapes[i].rank; ++j)
        {
            isKnown = isKnown && shapes[i][j] != Shape::kUnknown;
        }
        if (isKnown)
        {
            set(i, shapes[i]);
        }
    }
}

int64_t ShapeInference::sizeOf(char const* name)
{
    if (name == nullptr || name[0] == '\0')
    {
        return Shape::kUnknown;
    }
    int32_t i = 0;
    while (i < mCount && std::strcmp(mNames[i], name) != 0)
    {
        ++i;
    }
    if (i == kMostNames)
    {
        return Shape::kUnknown;
    }
    mNames[i] = name;
    mCount = i == mCount ? i + 1 : mCount;
    return -1 - int64_t{i};
}

bool ShapeInference::set(size_t output, Shape const& shape)
{
    ShapeInfo* info = nullptr;
    if (!mApi.succeeded(mApi.call<kCreateTensorTypeAndShapeInfo>(&info)))
    {
        return false;
    }
    auto const rank = static_cast<size_t>(shape.rank);
    int64_t sizes[Shape::kMost]{};
    char const* names[Shape::kMost]{};
    for (size_t i = 0; i < rank; ++i)
    {
        bool const isNamed = shape.sizes[i] < 0;
        sizes[i] = isNamed ? -1 : shape.sizes[i];
        names[i] = isNamed ? mNames[-1 - shape.sizes[i]] : "";
    }
    bool const good = mApi.succeeded(mApi.call<kSetDimensions>(info, static_cast<int64_t const*>(sizes), rank))
        && mApi.succeeded(mApi.call<kSetSymbolicDimensions>(info, static_cast<char const**>(names), rank))
        && mApi.succeeded(mApi.call<kShapeInferContext_SetOutputTypeShape>(
            mContext, output, static_cast<ShapeInfo const*>(info)));
    mApi.release<kReleaseTensorTypeAndShapeInfo>(info);
    return good;
}

} // namespace ort
} // namespace sparsevit
