// cuBLASLt's C ABI, as far as products need it. Names and numbers are its own; they are those of CUDA 11 to 13.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cuda_runtime_api.h>

namespace sparsevit
{
namespace ort
{
namespace lt
{

using Handle = void*;
using Description = void*; //!< of a product
using Layout = void*;      //!< of a matrix
using Preference = void*;
using Status = int32_t; //!< 0 where it went well

enum DataType : int32_t
{
    kFloat = 0,     // CUDA_R_32F
    kHalf = 2,      // CUDA_R_16F
    kBfloat16 = 14, // CUDA_R_16BF
};

constexpr int32_t kComputeFloat{68}; // CUBLAS_COMPUTE_32F

enum DescriptionAttribute : int32_t
{
    kEpilogue = 7,
    kBiasPointer = 8,
};

enum Epilogue : uint32_t
{
    kNothing = 1, // CUBLASLT_EPILOGUE_DEFAULT
    kGeluOfBiased = 36,
};

enum PreferenceAttribute : int32_t
{
    kMostWorkspace = 1,
    kAlignmentOfA = 5, // and of B, C and D behind it
};

struct Algorithm
{
    uint64_t data[8];
};

struct Choice // cublasLtMatmulHeuristicResult_t
{
    Algorithm algorithm;
    size_t workspace;
    Status state;
    float waves;
    int32_t reserved[4];
};

//! The functions; all of them null where there is no cuBLASLt.
struct Library
{
    Status (*create)(Handle*);
    Status (*createDescription)(Description*, int32_t compute, DataType scale);
    Status (*setDescription)(Description, DescriptionAttribute, void const*, size_t);
    Status (*destroyDescription)(Description);
    Status (*createLayout)(Layout*, DataType, uint64_t rows, uint64_t columns, int64_t leading);
    Status (*destroyLayout)(Layout);
    Status (*createPreference)(Preference*);
    Status (*setPreference)(Preference, int32_t attribute, void const*, size_t);
    Status (*destroyPreference)(Preference);
    Status (*choose)(Handle, Description, Layout a, Layout b, Layout c, Layout d, Preference, int32_t wanted, Choice*,
        int32_t* found);
    Status (*multiply)(Handle, Description, void const* alpha, void const* a, Layout, void const* b, Layout,
        void const* beta, void const* c, Layout, void* d, Layout, Algorithm const*, void* workspace, size_t bytes,
        cudaStream_t);
};

//! The library that the process has loaded, else one that the system finds; null where there is none.
Library const* find();

} // namespace lt
} // namespace ort
} // namespace sparsevit
