// A block of threads on the host: what kernels know of themselves, where they wait for each other, what they share.
#pragma once

#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <ucontext.h>
#include <utility>
#include <vector>

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
