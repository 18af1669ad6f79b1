// Where the ops run.
#pragma once

#ifndef SPARSEVIT_ORT_ON_CPU
#include <cuda_runtime_api.h>
#endif

namespace sparsevit
{
namespace ort
{

#ifdef SPARSEVIT_ORT_ON_CPU // kernels compiled for the CPU, where tests run them thread by thread
constexpr char const* kProvider{nullptr};

inline char const* missingDevice()
{
    return nullptr;
}
#else
constexpr char const* kProvider{"CUDAExecutionProvider"};

//! Why no kernel can run on this machine; null where one can.
inline char const* missingDevice()
{
    int devices = 0;
    cudaError_t const found = cudaGetDeviceCount(&devices);
    return found != cudaSuccess ? cudaGetErrorString(found) : devices == 0 ? "there is no GPU" : nullptr;
}
#endif

} // namespace ort
} // namespace sparsevit
