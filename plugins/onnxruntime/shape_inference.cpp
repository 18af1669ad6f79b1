#include "onnxruntime/shape_inference.h"

#include <atomic>
#include <cstdio>
#include <cstring>

namespace sparsevit
{
namespace ort
{
namespace
{

std::atomic<void const*> gTable{nullptr}; // the same in every session of a process
std::atomic<uint64_t> gNames{0};          // made up so far

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

bool ShapeInference::readInputs(size_t count, Shape* shapes, DataType* types)
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
        if (!mApi.succeeded(mApi.call<kGetTensorElementType>(known, &types[i]))
            || !mApi.succeeded(mApi.call<kGetDimensionsCount>(known, &rank)) || rank == 0 || rank > size_t{Shape::kMost}
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

void ShapeInference::setOutputs(size_t count, Shape const* shapes, DataType const* types)
{
    for (size_t i = 0; i < count; ++i)
    {
        set(i, shapes[i], types[i]);
    }
}

int64_t ShapeInference::sizeOf(char const* name)
{
    int64_t i = 0;
    bool const isNamed = name != nullptr && name[0] != '\0' && std::strlen(name) < sizeof(Name::bytes);
    while (i < mCount && (!isNamed || std::strcmp(mNames[i].bytes, name) != 0))
    {
        ++i;
    }
    if (i == Shape::kNames)
    {
        return Shape::kUnknown;
    }
    if (i == mCount)
    {
        if (isNamed)
        {
            std::strcpy(mNames[i].bytes, name);
        }
        else
        {
            write(Shape::kUnknown, mNames[i]);
        }
        ++mCount;
    }
    return Shape::named(i, 1);
}

void ShapeInference::write(int64_t size, Name& name) const
{
    if (size == Shape::kUnknown)
    {
        auto const number = static_cast<unsigned long long>(gNames++);
        std::snprintf(name.bytes, sizeof(name.bytes), "sparsevit/size%llu", number);
        return;
    }
    Name const& base = mNames[Shape::nameOf(size)];
    int64_t const factor = Shape::factorOf(size);
    int const written = factor == 1
        ? std::snprintf(name.bytes, sizeof(name.bytes), "%s", base.bytes)
        : std::snprintf(name.bytes, sizeof(name.bytes), "%s*%lld", base.bytes, static_cast<long long>(factor));
    if (written >= static_cast<int>(sizeof(name.bytes)))
    {
        write(Shape::kUnknown, name); // what is cut off could be another size's
    }
}

bool ShapeInference::set(size_t output, Shape const& shape, DataType type)
{
    ShapeInfo* info = nullptr;
    if (!mApi.succeeded(mApi.call<kCreateTensorTypeAndShapeInfo>(&info)))
    {
        return false;
    }
    auto const rank = static_cast<size_t>(shape.rank);
    int64_t sizes[Shape::kMost]{};
    Name texts[Shape::kMost];
    char const* names[Shape::kMost]{};
    for (size_t i = 0; i < rank; ++i)
    {
        sizes[i] = shape.sizes[i] < 0 ? -1 : shape.sizes[i];
        if (shape.sizes[i] < 0)
        {
            write(shape.sizes[i], texts[i]);
        }
        names[i] = texts[i].bytes;
    }
    bool const good = mApi.succeeded(mApi.call<kSetTensorElementType>(info, type))
        && mApi.succeeded(mApi.call<kSetDimensions>(info, static_cast<int64_t const*>(sizes), rank))
        && mApi.succeeded(mApi.call<kSetSymbolicDimensions>(info, static_cast<char const**>(names), rank))
        && mApi.succeeded(mApi.call<kShapeInferContext_SetOutputTypeShape>(
            mContext, output, static_cast<ShapeInfo const*>(info)));
    mApi.release<kReleaseTensorTypeAndShapeInfo>(info);
    return good;
}

} // namespace ort
} // namespace sparsevit
