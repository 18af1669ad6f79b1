// As much of CUDA as the kernels use, on the host: their sources compile as plain C++ and run thread by thread, so that
// launchers and kernels are tested where there is no GPU. Blocks run one after the other; the threads of a block are
// fibers that switch where they wait for each other.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

enum cudaError_t
{
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
};
enum cudaMemcpyKind
{
    cudaMemcpyDeviceToDevice = 3
};
using cudaStream_t = struct CUstream_st*;

struct dim3
{
    unsigned int x{1};
    unsigned int y{1};
    unsigned int z{1};
};
struct alignas(8) uint2
{
    unsigned int x, y;
};
struct alignas(16) uint4
{
    unsigned int x, y, z, w;
};

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host_cuda
{

//! The threads of one block. A fiber runs one thread after the other until one of them waits.
class Block
{
public:
    template <typename Thread>
    void run(unsigned int threads, Thread& thread)
    {
        mThreads = threads;
        mNext = 0;
        mEntry = [](void* state)
        {
            (*static_cast<Thread*>(state))();
        };
        mState = &thread;
        sCurrent = this;
        size_t live = 0;
        do
        {
            live = 0;
            for (size_t i = 0; i < mFibers.size() || mNext < mThreads; ++i)
            {
                if (i == mFibers.size())
                {
                    mFibers.push_back(std::make_unique<Fiber>());
                }
                live += resume(*mFibers[i]) ? 1 : 0;
            }
        } while (live > 0);
        for (auto& fiber : mFibers)
        {
            fiber->started = false;
        }
    }

    //! Lets every other thread of the block get as far as the calling one.
    static void wait()
    {
        Block& block = *sCurrent;
        Fiber& fiber = *block.mRunning;
        fiber.thread = threadIdx;
        swapcontext(&fiber.context, &block.mScheduler);
        threadIdx = fiber.thread;
    }

    static Block& current()
    {
        return *sCurrent;
    }

    uint64_t exchanged[1024]{}; //!< what each thread offers in a shuffle

private:
    struct Fiber
    {
        ucontext_t context{};
        std::vector<char> stack = std::vector<char>(32768);
        dim3 thread{};
        bool started{false};
        bool live{false};
    };

    static void main()
    {
        Block& block = *sCurrent;
        Fiber& fiber = *block.mRunning;
        while (block.mNext < block.mThreads)
        {
            threadIdx = dim3{block.mNext++};
            block.mEntry(block.mState);
        }
        fiber.live = false;
        swapcontext(&fiber.context, &block.mScheduler);
    }

    bool resume(Fiber& fiber)
    {
        if (!fiber.started)
        {
            if (mNext == mThreads)
            {
                return false;
            }
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            makecontext(&fiber.context, &Block::main, 0);
            fiber.started = fiber.live = true;
        }
        if (fiber.live)
        {
            mRunning = &fiber;
            swapcontext(&mScheduler, &fiber.context);
        }
        return fiber.live;
    }

    inline static thread_local Block* sCurrent{nullptr};

    unsigned int mThreads{0};
    unsigned int mNext{0};
    void (*mEntry)(void*){nullptr};
    void* mState{nullptr};
    ucontext_t mScheduler{};
    Fiber* mRunning{nullptr};
    std::vector<std::unique_ptr<Fiber>> mFibers;
};

} // namespace host_cuda

inline void __syncthreads()
{
    host_cuda::Block::wait();
}

//! All threads of the warp take as many turns, so that waiting for the whole block serves.
inline void __syncwarp()
{
    host_cuda::Block::wait();
}

inline float __shfl_xor_sync(unsigned int, float value, int lanes)
{
    auto& exchanged = host_cuda::Block::current().exchanged;
    unsigned int const thread = threadIdx.x;
    std::memcpy(&exchanged[thread], &value, sizeof(value));
    host_cuda::Block::wait();
    std::memcpy(&value, &exchanged[thread ^ static_cast<unsigned int>(lanes)], sizeof(value));
    host_cuda::Block::wait();
    return value;
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

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(
    cudaLaunchConfig_t const* config, void (*kernel)(Parameters...), Arguments&&... arguments)
{
    dim3 const grid = config->gridDim;
    if (grid.x - 1 >= 2147483647U || grid.y - 1 >= 65535U || grid.z != 1 || config->blockDim.x - 1 >= 1024U)
    {
        return cudaErrorInvalidConfiguration;
    }
    host_cuda::Block block;
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
            block.run(config->blockDim.x, thread);
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
