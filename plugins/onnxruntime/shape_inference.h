// The shapes of a node's outputs while a graph is opened, where its inputs' sizes are numbers and names.
#pragma once

#include "onnxruntime/api.h"
#include "onnxruntime/tensors.h"

#include <cstddef>

namespace sparsevit
{
namespace ort
{

class ShapeInference
{
public:
    ShapeInference(Api const& api, ShapeContext* context)
        : mApi{api}
        , mContext{context}
    {
    }

    //! Names become negative sizes, alike for a name that comes again; a size without one gets a name of its own.
    //! \return false where a shape is not known.
    bool readInputs(size_t count, Shape* shapes, DataType* types);
    //! Says the outputs' shapes and types. ONNX Runtime takes no size that is not known: each gets a name, the same for no other.
    void setOutputs(size_t count, Shape const* shapes, DataType const* types);

    //! The table that shapes are asked for with: ONNX Runtime hands none over with a context.
    static Api const* api();
    static void useApi(void const* table);

private:
    struct Name
    {
        char bytes[96]{};
    };

    int64_t sizeOf(char const* name);
    void write(int64_t size, Name& name) const;
    bool set(size_t output, Shape const& shape, DataType type);

    Api mApi;
    ShapeContext* mContext;
    Name mNames[Shape::kNames];
    int64_t mCount{0};
};

} // namespace ort
} // namespace sparsevit
