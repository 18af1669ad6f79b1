// What an op receives: shapes, and tensors with their types and addresses.
#pragma once

#include "kernels/element.h"
#include "onnxruntime/api.h"
#include "onnxruntime/text.h"

#include <cstdint>
#include <initializer_list>

namespace sparsevit
{
namespace ort
{

//! A shape. A size that is not known while a graph is opened is negative: the number of a name, and what it is
//! multiplied with.
struct Shape
{
    static constexpr int32_t kMost{8};
    //! Not known, and equal to no other size that is known.
    static constexpr int64_t kUnknown{INT64_MIN};
    //! Numbers of names are below it.
    static constexpr int64_t kNames{64};

    static int64_t named(int64_t name, int64_t factor)
    {
        return -1 - name - kNames * factor;
    }
    static int64_t nameOf(int64_t size)
    {
        return (-1 - size) % kNames;
    }
    static int64_t factorOf(int64_t size)
    {
        return (-1 - size) / kNames;
    }

    int32_t rank{0};
    int64_t sizes[kMost]{};

    Shape() = default;
    Shape(std::initializer_list<int64_t> given)
    {
        for (int64_t const size : given)
        {
            sizes[rank++] = size;
        }
    }

    int64_t operator[](int32_t i) const
    {
        return sizes[i];
    }
};

inline Text& operator<<(Text& text, Shape const& shape)
{
    text << "(";
    for (int32_t i = 0; i < shape.rank; ++i)
    {
        text << (i == 0 ? "" : ", ") << (shape[i] < 0 ? int64_t{-1} : shape[i]);
    }
    return text << ")";
}

//! Whether two sizes can be equal.
inline bool agree(int64_t first, int64_t second)
{
    return first < 0 || second < 0 || first == second;
}

//! The product of a size with a number.
inline int64_t times(int64_t size, int64_t factor)
{
    return size == Shape::kUnknown ? size
        : size < 0                 ? Shape::named(Shape::nameOf(size), Shape::factorOf(size) * factor)
                                   : size * factor;
}

struct Tensor
{
    DataType type{DataType::kUndefined};
    Shape shape;
    void* data{nullptr};

    //! \param type One of the floating-point types of maps.
    Element element() const
    {
        return type == DataType::kFloat ? Element::kFloat
            : type == DataType::kFloat16 ? Element::kHalf
                                         : Element::kBfloat16;
    }

    //! Bytes of an element.
    int32_t bytes() const
    {
        return type == DataType::kInt64                                 ? 8
            : type == DataType::kFloat || type == DataType::kInt32 ? 4
            : type == DataType::kUint8                                  ? 1
                                                                        : 2;
    }
};

} // namespace ort
} // namespace sparsevit
