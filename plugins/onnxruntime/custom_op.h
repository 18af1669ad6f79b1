// One op of ONNX Runtime over a description of its node.
//
// A node is a class with
//     static constexpr char const* kName;
//     static constexpr Kind kInputs[], kOutputs[];
//     static constexpr int32_t kInPlace;    the input in whose place the first output may be written, or kNowhere
//     bool read(Attributes const&, Text& error);
//     bool shapes(Shape const* inputs, Shape* outputs, Text& error) const;    checks the one, says the other
//     size_t workspace(Tensor const* inputs) const;    bytes
//     cudaError_t launch(Tensor const* inputs, Tensor const* outputs, void* workspace, cudaStream_t) const;
// and, where its tensors lie in the host's memory and it computes there, `static constexpr bool kOnHost{true};`
// Functions with an `error` return false after they have said in it what is wrong.
#pragma once

#include "onnxruntime/api.h"
#include "onnxruntime/attributes.h"
#include "onnxruntime/kernel_call.h"
#include "onnxruntime/provider.h"
#include "onnxruntime/shape_inference.h"
#include "onnxruntime/tensors.h"
#include "onnxruntime/text.h"
#include "onnxruntime/workspace.h"

#include <cuda_runtime_api.h>

#include <new>
#include <type_traits>

namespace sparsevit
{
namespace ort
{

//! What a tensor of a node holds.
enum class Kind
{
    kElement, //!< float, half or bfloat16: alike in all tensors of one op
    kIndex,   //!< int32 or int64
    kFloat,
    kInt32,
    kInt64,
    kUint8,
};

constexpr int32_t kNowhere{-1};

template <typename Node, typename = void>
constexpr bool kRunsOnHost{false};
template <typename Node>
constexpr bool kRunsOnHost<Node, std::void_t<decltype(Node::kOnHost)>>{Node::kOnHost};

template <typename Node>
class CustomOp : public CustomOpTable
{
public:
    static constexpr size_t kInputs{sizeof(Node::kInputs) / sizeof(Kind)};
    static constexpr size_t kOutputs{sizeof(Node::kOutputs) / sizeof(Kind)};

    //! \param element, index What Kind::kElement and Kind::kIndex are.
    CustomOp(DataType element, DataType index)
        : CustomOpTable{}
        , mElement{element}
        , mIndex{index}
    {
        version = kVersion;
        name = [](CustomOpTable const*) { return Node::kName; };
        provider = [](CustomOpTable const*) { return kRunsOnHost<Node> ? nullptr : kProvider; };
        inputType = [](CustomOpTable const* op, size_t i) { return of(op).typeOf(Node::kInputs[i]); };
        inputCount = [](CustomOpTable const*) { return kInputs; };
        outputType = [](CustomOpTable const* op, size_t i) { return of(op).typeOf(Node::kOutputs[i]); };
        outputCount = [](CustomOpTable const*) { return kOutputs; };
        inputCharacteristic = [](CustomOpTable const*, size_t) { return kRequired; };
        outputCharacteristic = [](CustomOpTable const*, size_t) { return kRequired; };
        inputMemory = [](CustomOpTable const*, size_t) { return kOnDevice; };
        createKernelV2 = &CustomOp::create;
        computeV2 = &CustomOp::run;
        destroyKernel = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
        inferShapes = &CustomOp::infer;
        if (Node::kInPlace != kNowhere)
        {
            mayInPlace = &CustomOp::writeInPlace;
            releaseMayInPlace = [](int32_t* inputs, int32_t* outputs)
            {
                delete inputs;
                delete outputs;
            };
        }
    }

private:
    static constexpr int32_t kRequired{0}; // the input or output is always there
    static constexpr int32_t kOnDevice{0}; // in the memory of the provider

    struct Kernel
    {
        explicit Kernel(Api const& given)
            : api{given}
            , workspaces{given}
        {
        }

        Api api;
        Node node;
        Workspaces workspaces;
    };

    static CustomOp const& of(CustomOpTable const* op)
    {
        return *static_cast<CustomOp const*>(op);
    }

    DataType typeOf(Kind kind) const
    {
        switch (kind)
        {
        case Kind::kElement: return mElement;
        case Kind::kIndex: return mIndex;
        case Kind::kFloat: return DataType::kFloat;
        case Kind::kInt32: return DataType::kInt32;
        case Kind::kInt64: return DataType::kInt64;
        case Kind::kUint8: return DataType::kUint8;
        }
        return DataType::kUndefined;
    }

    static Status* create(CustomOpTable const*, void const* table, KernelInfo const* info, void** made)
    {
        Api const api{table};
        auto* const kernel = new (std::nothrow) Kernel{api};
        if (kernel == nullptr)
        {
            return api.error(ErrorCode::kFail, "out of memory");
        }
        Text error;
        if (!kernel->node.read(Attributes{api, info}, error))
        {
            delete kernel;
            Text text;
            text << Node::kName << " node '" << NodeName{api, info}.bytes() << "': " << error.bytes();
            return api.error(ErrorCode::kInvalidArgument, text.bytes());
        }
        *made = kernel;
        return nullptr;
    }

    static Status* run(void* state, KernelContext* context)
    {
        Kernel& kernel = *static_cast<Kernel*>(state);
        KernelCall call{kernel.api, context};
        Tensor inputs[kInputs];
        Tensor outputs[kOutputs];
        Shape shapes[kInputs];
        Shape results[kOutputs];
        Text error;
        if (!call.readInputs(kInputs, inputs, error))
        {
            return call.failed(ErrorCode::kFail, Node::kName, error);
        }
        for (size_t i = 0; i < kInputs; ++i)
        {
            shapes[i] = inputs[i].shape;
        }
        if (!kernel.node.shapes(shapes, results, error))
        {
            return call.failed(ErrorCode::kInvalidArgument, Node::kName, error);
        }
        if (!call.makeOutputs(kOutputs, results, outputs, error))
        {
            return call.failed(ErrorCode::kFail, Node::kName, error);
        }
        auto* const stream = kRunsOnHost<Node> ? cudaStream_t{} : static_cast<cudaStream_t>(call.stream());
        size_t const bytes = kernel.node.workspace(inputs);
        Workspaces::Block* block = nullptr;
        if (bytes != 0)
        {
            block = kernel.workspaces.take(context, call.firstInput(), bytes, stream);
            if (block == nullptr)
            {
                error << "there are no " << static_cast<int64_t>(bytes) << " bytes for its workspace";
                return call.failed(ErrorCode::kFail, Node::kName, error);
            }
        }
        cudaError_t const launched =
            kernel.node.launch(inputs, outputs, block == nullptr ? nullptr : block->data, stream);
        if (block != nullptr)
        {
            kernel.workspaces.put(block);
        }
        if (launched != cudaSuccess)
        {
            error << "does not start: " << cudaGetErrorString(launched) << ", inputs";
            for (Shape const& shape : shapes)
            {
                error << " " << shape;
            }
            return call.failed(ErrorCode::kFail, Node::kName, error);
        }
        return nullptr;
    }

    static Status* infer(CustomOpTable const*, ShapeContext* context)
    {
        Api const api = *ShapeInference::api(); // the context brings no table
        ShapeInference inference{api, context};
        Shape inputs[kInputs];
        Shape outputs[kOutputs];
        Node node;
        Text error;
        // What does not fit is said when the node runs; until then nothing is known of its outputs.
        DataType given[kInputs];
        DataType types[kOutputs];
        if (inference.readInputs(kInputs, inputs, given) && node.read(Attributes{api, context}, error)
            && node.shapes(inputs, outputs, error))
        {
            // ONNX Runtime asks one op for all of its types.
            CustomOp const asked{elementOf(given), DataType::kUndefined};
            for (size_t i = 0; i < kOutputs; ++i)
            {
                types[i] = asked.typeOf(Node::kOutputs[i]);
            }
            inference.setOutputs(kOutputs, outputs, types);
        }
        return nullptr;
    }

    //! The type of the first input that may be of several.
    static DataType elementOf(DataType const* types)
    {
        for (size_t i = 0; i < kInputs; ++i)
        {
            if (Node::kInputs[i] == Kind::kElement)
            {
                return types[i];
            }
        }
        return DataType::kUndefined;
    }

    static size_t writeInPlace(int32_t** inputs, int32_t** outputs)
    {
        *inputs = new (std::nothrow) int32_t{Node::kInPlace};
        *outputs = new (std::nothrow) int32_t{0};
        return *inputs != nullptr && *outputs != nullptr ? 1 : 0;
    }

    DataType mElement;
    DataType mIndex;
};

} // namespace ort
} // namespace sparsevit
