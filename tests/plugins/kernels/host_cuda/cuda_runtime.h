// As much of CUDA as the kernels use, on the host: their sources compile as plain C++ and run thread by thread, so that
// launchers and kernels are tested where there is no GPU. Blocks run one after the other; the threads of a block are
// fibers that switch where they wait for each other.
#pragma once

#include "host_block.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static thread_local // of the block that a thread of the host runs
#define __launch_bounds__(...)

enum cudaError_t
{
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorLaunchTimeout = 702,
    cudaErrorLaunchFailure = 719,
};
enum cudaFuncAttribute
{
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
};
enum cudaMemcpyKind
{
    cudaMemcpyDeviceToDevice = 3
};
using cudaStream_t = struct CUstream_st*;

#define SPARSEVIT_SHARED_MEMORY(name) uint4* const name = host_cuda::SharedMemory::start()

inline void __syncthreads()
{
    host_cuda::Block::waitForBlock();
}

inline void __syncwarp()
{
    host_cuda::Block::waitForWarp();
}

inline float __shfl_xor_sync(unsigned int, float value, int lanes)
{
    unsigned int const other = (threadIdx.x % host_cuda::kWarpLanes) ^ static_cast<unsigned int>(lanes);
    return host_cuda::Block::exchange(value, [other](auto const& valueOf) { return valueOf(other); });
}

inline int __any_sync(unsigned int, bool isTrue)
{
    return host_cuda::Block::exchange(isTrue,
        [](auto const& valueOf)
        {
            int any = 0;
            for (unsigned int lane = 0; lane < host_cuda::kWarpLanes; ++lane)
            {
                any |= valueOf(lane) ? 1 : 0;
            }
            return any;
        });
}

inline float rsqrtf(float value)
{
    return 1.0F / std::sqrt(value);
}

inline float __uint_as_float(unsigned int bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

inline unsigned int __float_as_uint(float value)
{
    unsigned int bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
}

struct __half
{
    unsigned short bits;
};

inline __half __ushort_as_half(unsigned short bits)
{
    return {bits};
}

inline float __half2float(__half half)
{
    int const exponent = (half.bits >> 10) & 31;
    int const fraction = half.bits & 1023;
    float const magnitude = exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
        : exponent == 0                    ? std::ldexp(static_cast<float>(fraction), -24)
                                           : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    return half.bits & 0x8000 ? -magnitude : magnitude;
}

inline unsigned short __half_as_ushort(__half half)
{
    return half.bits;
}

//! To nearest, ties to even.
inline __half __float2half_rn(float value)
{
    auto const sign = static_cast<unsigned short>(std::signbit(value) ? 0x8000 : 0);
    float const magnitude = std::fabs(value);
    if (!(magnitude < 65520.0F))
    {
        return {static_cast<unsigned short>(sign | (std::isnan(value) ? 0x7e00 : 0x7c00))};
    }
    int exponent = -13; // and below, halves are multiples of 2^-24
    if (magnitude >= std::ldexp(1.0F, -14))
    {
        std::frexp(magnitude, &exponent);
    }
    // 1024 to 2048 steps of the exponent's size, fewer of a subnormal; 2048 carries into the exponent by itself.
    auto const steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 11 - exponent)));
    return {static_cast<unsigned short>(sign | (((exponent + 13) << 10) + steps))};
}

struct cudaLaunchConfig_t
{
    dim3 gridDim;
    dim3 blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    void* attrs;
    unsigned int numAttrs;
};

namespace host_cuda
{

//! Of the memory that a launch of a kernel may ask for; 48 KB unless it has been raised.
inline size_t& sharedLimit(void const* kernel)
{
    static thread_local std::map<void const*, size_t> limits;
    return limits.try_emplace(kernel, size_t{48} << 10).first->second;
}

} // namespace host_cuda

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int value)
{
    if (value > 99 << 10) // the least of all GPUs from compute capability 8.0 on
    {
        return cudaErrorInvalidValue;
    }
    host_cuda::sharedLimit(reinterpret_cast<void const*>(kernel)) = static_cast<size_t>(value);
    return cudaSuccess;
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(
    cudaLaunchConfig_t const* config, void (*kernel)(Parameters...), Arguments&&... arguments)
{
    dim3 const grid = config->gridDim;
    if (grid.x - 1 >= 2147483647U || grid.y - 1 >= 65535U || grid.z != 1 || config->blockDim.x - 1 >= 1024U)
    {
        return cudaErrorInvalidConfiguration;
    }
    if (config->dynamicSmemBytes > host_cuda::sharedLimit(reinterpret_cast<void const*>(kernel)))
    {
        return cudaErrorInvalidValue;
    }
    host_cuda::Block& block = host_cuda::Block::instance();
    host_cuda::SharedMemory shared{config->dynamicSmemBytes};
    gridDim = grid;
    blockDim = config->blockDim;
    auto thread = [&]
    {
        kernel(Parameters(arguments)...);
    };
    for (unsigned int y = 0; y < grid.y; ++y)
    {
        for (unsigned int x = 0; x < grid.x; ++x)
        {
            blockIdx = dim3{x, y};
            shared.poison();
            if (!block.run(config->blockDim.x, thread))
            {
                return cudaErrorLaunchTimeout;
            }
            if (!shared.isIntact())
            {
                return cudaErrorLaunchFailure;
            }
        }
    }
    return cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(void* to, void const* from, size_t bytes, cudaMemcpyKind, cudaStream_t)
{
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}

inline char const* cudaGetErrorString(cudaError_t error)
{
    return error == cudaSuccess ? "no error" : "invalid argument";
}
