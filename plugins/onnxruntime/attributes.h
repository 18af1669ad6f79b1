// A node's attributes, from either place where ONNX Runtime has them: the node, and its shape inference.
#pragma once

#include "onnxruntime/api.h"
#include "onnxruntime/text.h"

#include <cstdint>

namespace sparsevit
{
namespace ort
{

class Attributes
{
public:
    Attributes(Api const& api, KernelInfo const* node)
        : mApi{api}
        , mNode{node}
    {
    }
    Attributes(Api const& api, ShapeContext const* context)
        : mApi{api}
        , mContext{context}
    {
    }

    //! Reads an integer of 32 bits.
    bool read(char const* name, int32_t& value, Text& error) const;
    //! The same; the value stays where there is no such attribute.
    bool readOptional(char const* name, int32_t& value, Text& error) const;
    //! Reads `count` integers of 32 bits, at most kMostIntegers.
    bool read(char const* name, int32_t count, int32_t* values, Text& error) const;
    bool read(char const* name, float& value, Text& error) const;

    static constexpr int32_t kMostIntegers{8};

private:
    bool find(char const* name, AttributeKind kind, size_t bytes, void* values) const;
    bool narrow(char const* name, int64_t wide, int32_t& value, Text& error) const;

    Api mApi;
    KernelInfo const* mNode{nullptr};
    ShapeContext const* mContext{nullptr};
};

} // namespace ort
} // namespace sparsevit
