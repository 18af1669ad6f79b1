// ONNX Runtime's C ABI, as far as custom ops need it. It only ever grows at its end, so that these few places in its
// table are those of every version from kVersion on, and no header of ONNX Runtime is needed to build for it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sparsevit
{
namespace ort
{

//! The oldest version of the table that has everything named here: ONNX Runtime 1.18.
constexpr uint32_t kVersion{18};

// What ONNX Runtime hands out and takes back.
struct Status;
struct SessionOptions;
struct Domain;
struct Value;
struct ShapeInfo; //!< a tensor's type and shape
struct KernelInfo;
struct KernelContext;
struct ShapeContext;
struct Attribute;
struct Allocator;
struct MemoryInfo;

enum class ErrorCode : int32_t
{
    kFail = 1,
    kInvalidArgument = 2,
    kNotImplemented = 9,
};

//! Types of a tensor's elements.
enum class DataType : int32_t
{
    kUndefined = 0,
    kFloat = 1,
    kUint8 = 2,
    kInt32 = 6,
    kInt64 = 7,
    kFloat16 = 10,
    kBfloat16 = 16,
};

//! Kinds of attributes, and how many bytes one value has.
enum class AttributeKind : int32_t
{
    kInt = 1,
    kInts = 2,
    kFloat = 3,
};

//! One op, as ONNX Runtime asks for it. A function may be null where ONNX Runtime has an answer of its own.
struct CustomOpTable
{
    uint32_t version;
    void* (*createKernel)(CustomOpTable const*, void const* api, KernelInfo const*);
    char const* (*name)(CustomOpTable const*);
    char const* (*provider)(CustomOpTable const*);
    DataType (*inputType)(CustomOpTable const*, size_t);
    size_t (*inputCount)(CustomOpTable const*);
    DataType (*outputType)(CustomOpTable const*, size_t);
    size_t (*outputCount)(CustomOpTable const*);
    void (*compute)(void*, KernelContext*);
    void (*destroyKernel)(void*);
    int32_t (*inputCharacteristic)(CustomOpTable const*, size_t);
    int32_t (*outputCharacteristic)(CustomOpTable const*, size_t);
    int32_t (*inputMemory)(CustomOpTable const*, size_t);
    int32_t (*variadicInputMinArity)(CustomOpTable const*);
    int32_t (*variadicInputHomogeneity)(CustomOpTable const*);
    int32_t (*variadicOutputMinArity)(CustomOpTable const*);
    int32_t (*variadicOutputHomogeneity)(CustomOpTable const*);
    Status* (*createKernelV2)(CustomOpTable const*, void const* api, KernelInfo const*, void** kernel);
    Status* (*computeV2)(void*, KernelContext*);
    Status* (*inferShapes)(CustomOpTable const*, ShapeContext*);
    int32_t (*startVersion)(CustomOpTable const*);
    int32_t (*endVersion)(CustomOpTable const*);
    size_t (*mayInPlace)(int32_t** inputs, int32_t** outputs);
    void (*releaseMayInPlace)(int32_t* inputs, int32_t* outputs);
    size_t (*aliases)(int32_t** inputs, int32_t** outputs);
    void (*releaseAliases)(int32_t* inputs, int32_t* outputs);
};

//! Where RegisterCustomOps gets the table from.
struct ApiBase
{
    void const* (*table)(uint32_t version); //!< null for a version that this ONNX Runtime does not know
    char const* (*version)();
};

//! Places in the table of functions. The names are ONNX Runtime's own.
enum Slot : size_t
{
    kCreateStatus = 0,
    kCreateCustomOpDomain = 26,
    kCustomOpDomain_Add = 27,
    kAddCustomOpDomain = 28,
    kGetTensorMutableData = 51,
    kCreateTensorTypeAndShapeInfo = 57,
    kSetTensorElementType = 58,
    kSetDimensions = 59,
    kGetTensorElementType = 60,
    kGetDimensionsCount = 61,
    kGetDimensions = 62,
    kGetSymbolicDimensions = 63,
    kGetTensorTypeAndShape = 65,
    kAllocatorAlloc = 75,
    kAllocatorFree = 76,
    kKernelInfoGetAttribute_float = 85,
    kKernelInfoGetAttribute_int64 = 86,
    kKernelContext_GetInputCount = 88,
    kKernelContext_GetInput = 90,
    kKernelContext_GetOutput = 91,
    kReleaseStatus = 93,
    kReleaseTensorTypeAndShapeInfo = 99,
    kReleaseAllocator = 132,
    kKernelInfoGetAttributeArray_int64 = 163,
    kKernelContext_GetGPUComputeStream = 193,
    kGetTensorMemoryInfo = 194,
    kKernelInfo_GetNodeName = 244,
    kKernelContext_GetAllocator = 253,
    kShapeInferContext_GetInputCount = 267,
    kShapeInferContext_GetInputTypeShape = 268,
    kShapeInferContext_GetAttribute = 269,
    kShapeInferContext_SetOutputTypeShape = 270,
    kSetSymbolicDimensions = 271,
    kReadOpAttr = 272,
};

//! The table.
class Api
{
public:
    explicit Api(void const* table)
        : mSlots{static_cast<Function const*>(table)}
    {
    }

    //! Calls a function that returns a status: null where it went well.
    template <Slot kSlot, typename... Arguments>
    Status* call(Arguments... arguments) const
    {
        return reinterpret_cast<Status* (*)(Arguments...)>(mSlots[kSlot])(arguments...);
    }

    //! Calls a function that returns nothing.
    template <Slot kSlot, typename Argument>
    void release(Argument* argument) const
    {
        reinterpret_cast<void (*)(Argument*)>(mSlots[kSlot])(argument);
    }

    Status* error(ErrorCode code, char const* text) const
    {
        return call<kCreateStatus>(static_cast<int32_t>(code), text);
    }

    //! Whether a call went well; its status is given back.
    bool succeeded(Status* status) const
    {
        if (status == nullptr)
        {
            return true;
        }
        release<kReleaseStatus>(status);
        return false;
    }

private:
    using Function = void (*)();

    Function const* mSlots;
};

} // namespace ort
} // namespace sparsevit
