// As much of CUDA as the kernels use, on the host: their sources compile as plain C++ and run thread by thread, so that
// launchers and kernels are tested where there is no GPU. Blocks run one after the other; the threads of a block are
// fibers that switch where they wait for each other.
#pragma once

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <ucontext.h>
#include <utility>
#include <vector>

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
struct alignas(16) float4
{
    float x, y, z, w;
};

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host_cuda
{

constexpr unsigned int kWarpLanes{32};

//! Where threads wait until all that are left have come.
struct Barrier
{
    unsigned int members{0};
    unsigned int arrived{0};
    unsigned int turn{0};

    void open(unsigned int threads)
    {
        *this = Barrier{threads, 0, 0};
    }

    //! \return whether the one that came was the last.
    bool arrive()
    {
        ++arrived;
        return release();
    }

    //! A thread that has ended is waited for no longer.
    void leave()
    {
        --members;
        release();
    }

private:
    bool release()
    {
        bool const isFull = arrived == members;
        if (isFull)
        {
            arrived = 0;
            ++turn;
        }
        return isFull;
    }
};

//! The threads of one block. A fiber runs one thread after the other until one of them waits. Fibers stay for the blocks
//! and launches that follow; they switch by _longjmp, which calls no kernel.
class Block
{
public:
    static Block& instance()
    {
        static thread_local Block block;
        return block;
    }

    //! \return false where threads wait for some that never come.
    template <typename Thread>
    bool run(unsigned int threads, Thread& thread)
    {
        mThreads = threads;
        mNext = 0;
        mEntry = [](void* state)
        {
            (*static_cast<Thread*>(state))();
        };
        mState = &thread;
        mBlock.open(threads);
        for (unsigned int warp = 0; warp * kWarpLanes < threads; ++warp)
        {
            mWarps[warp].open(std::min(kWarpLanes, threads - warp * kWarpLanes));
        }
        sCurrent = this;
        size_t live = 0;
        bool hasMoved = false;
        do
        {
            live = 0;
            hasMoved = false;
            for (size_t i = 0; i < mFibers.size() || mNext < mThreads; ++i)
            {
                if (i == mFibers.size())
                {
                    mFibers.push_back(std::make_unique<Fiber>());
                }
                live += resume(*mFibers[i], hasMoved) ? 1 : 0;
            }
        } while (live > 0 && hasMoved);
        if (live > 0)
        {
            mFibers.clear(); // they wait where nobody will wake them
        }
        return live == 0;
    }

    //! Waits for all threads of the block.
    static void waitForBlock()
    {
        sCurrent->wait(sCurrent->mBlock);
    }

    //! Waits for the other threads of the warp.
    static void waitForWarp()
    {
        sCurrent->wait(sCurrent->mWarps[threadIdx.x / kWarpLanes]);
    }

    //! Every thread of a warp offers a value and sees those of all lanes: look(values of the warp).
    template <typename Value, typename Look>
    static auto exchange(Value const& value, Look&& look)
    {
        static_assert(sizeof(Value) <= sizeof(Offer));
        Offer* const offers = sCurrent->mOffers;
        std::memcpy(offers[threadIdx.x].bytes, &value, sizeof(value));
        waitForWarp();
        Offer const* const warp = offers + threadIdx.x / kWarpLanes * kWarpLanes;
        auto const result = look(
            [warp](unsigned int lane)
            {
                Value other;
                std::memcpy(&other, warp[lane].bytes, sizeof(other));
                return other;
            });
        waitForWarp();
        return result;
    }

private:
    struct alignas(16) Offer
    {
        char bytes[32];
    };

    struct Fiber
    {
        ucontext_t beginning{};
        jmp_buf place{};
        std::vector<char> stack = std::vector<char>(32768);
        dim3 thread{};
        Barrier const* barrier{nullptr};
        unsigned int turn{0};
        bool hasBegun{false};
        bool live{false};
    };

    void wait(Barrier& barrier)
    {
        Fiber& fiber = *mRunning;
        unsigned int const turn = barrier.turn;
        if (barrier.arrive())
        {
            return;
        }
        fiber.barrier = &barrier;
        fiber.turn = turn;
        fiber.thread = threadIdx;
        leave(fiber);
        threadIdx = fiber.thread;
    }

    static void main()
    {
        Block& block = *sCurrent;
        Fiber& fiber = *block.mRunning;
        while (true)
        {
            while (block.mNext < block.mThreads)
            {
                threadIdx = dim3{block.mNext++};
                block.mEntry(block.mState);
                block.mWarps[threadIdx.x / kWarpLanes].leave();
                block.mBlock.leave();
            }
            fiber.live = false;
            block.leave(fiber);
        }
    }

    //! Runs a fiber until it leaves.
    [[gnu::noinline]] void enter(Fiber& fiber)
    {
        if (_setjmp(mScheduler) != 0)
        {
            return;
        }
        if (fiber.hasBegun)
        {
            _longjmp(fiber.place, 1);
        }
        fiber.hasBegun = true;
        getcontext(&fiber.beginning);
        fiber.beginning.uc_stack.ss_sp = fiber.stack.data();
        fiber.beginning.uc_stack.ss_size = fiber.stack.size();
        makecontext(&fiber.beginning, &Block::main, 0);
        setcontext(&fiber.beginning);
    }

    [[gnu::noinline]] void leave(Fiber& fiber)
    {
        if (_setjmp(fiber.place) == 0)
        {
            _longjmp(mScheduler, 1);
        }
    }

    //! \return whether the fiber has still to run.
    bool resume(Fiber& fiber, bool& hasMoved)
    {
        if (!fiber.live)
        {
            if (mNext == mThreads)
            {
                return false;
            }
            fiber.live = true;
            fiber.barrier = nullptr;
        }
        if (fiber.barrier == nullptr || fiber.barrier->turn != fiber.turn)
        {
            hasMoved = true;
            fiber.barrier = nullptr;
            mRunning = &fiber;
            enter(fiber);
        }
        return fiber.live;
    }

    inline static thread_local Block* sCurrent{nullptr};

    unsigned int mThreads{0};
    unsigned int mNext{0};
    void (*mEntry)(void*){nullptr};
    void* mState{nullptr};
    jmp_buf mScheduler{};
    Fiber* mRunning{nullptr};
    std::vector<std::unique_ptr<Fiber>> mFibers;
    Barrier mBlock;
    Barrier mWarps[32];
    Offer mOffers[1024]{};
};

//! Memory that a launch asks for and a block's threads share: poison between guards before every block.
class SharedMemory
{
public:
    static constexpr size_t kGuard{256};

    explicit SharedMemory(size_t bytes)
        : mBytes{bytes}
        , mMemory((bytes + 2 * kGuard) / sizeof(uint4) + 1)
    {
        sStart = mMemory.data() + kGuard / sizeof(uint4);
    }

    void poison()
    {
        std::memset(mMemory.data(), kPoison, mMemory.size() * sizeof(uint4));
    }

    bool isIntact() const
    {
        auto const* const bytes = reinterpret_cast<unsigned char const*>(mMemory.data());
        auto const isPoison = [](unsigned char byte)
        {
            return byte == kPoison;
        };
        return std::all_of(bytes, bytes + kGuard, isPoison)
            && std::all_of(bytes + kGuard + mBytes, bytes + mMemory.size() * sizeof(uint4), isPoison);
    }

    static uint4* start()
    {
        return sStart;
    }

private:
    static constexpr int kPoison{0xff}; // a float, half or bfloat16 of these is no number

    inline static thread_local uint4* sStart{nullptr};

    size_t mBytes;
    std::vector<uint4> mMemory;
};

} // namespace host_cuda

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
