#include "kernels/window_rank/kernel.h"

#include "kernels/launch.cuh"
#include "kernels/window_rank/key.h"
#include "kernels/window_score/kernel.h"

namespace sparsevit
{
namespace
{

constexpr int32_t kCounted{4096}; //!< most windows whose places are counted
constexpr int32_t kLanes{32};
constexpr int32_t kCountWarps{8}; //!< that share the list of windows
constexpr int32_t kCountThreads{kCountWarps * kLanes}; //!< a window a lane
constexpr int32_t kReads{4}; //!< scores that a thread has under way at once
constexpr int32_t kTile{2048}; //!< windows that a block sorts
constexpr uint32_t kMergeThreads{256};

//! A block finds the places of 32 windows: how many precede each of them.
__global__ void __launch_bounds__(kCountThreads)
    countPlaces(int32_t windows, int64_t batch, float const* __restrict__ scores, int32_t* __restrict__ order)
{
    __shared__ uint4 shared[kCounted / 4];
    __shared__ int32_t counts[kCountWarps][kLanes];
    auto* const bits = reinterpret_cast<uint32_t*>(shared);
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int32_t const lane = thread % kLanes;
    int32_t const warp = thread / kLanes;
    int32_t const fours = (windows + 3) / 4;
    int32_t const own = static_cast<int32_t>(blockIdx.x) * kLanes + lane;
    for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y)
    {
        float const* const list = scores + sample * windows;
        for (int32_t first = thread; first < 4 * fours; first += kReads * kCountThreads)
        {
            float read[kReads];
#pragma unroll
            for (int32_t i = 0; i < kReads; ++i)
            {
                int32_t const at = first + i * kCountThreads;
                read[i] = at < windows ? list[at] : 0.0F;
            }
#pragma unroll
            for (int32_t i = 0; i < kReads; ++i)
            {
                int32_t const at = first + i * kCountThreads;
                if (at < 4 * fours)
                {
                    bits[at] = at < windows ? fallingBits(read[i]) : 0xffffffffU; // behind every window
                }
            }
        }
        __syncthreads();
        // Of equal scores those in the fours before the own one precede, those behind it not.
        int32_t const ownFour = own / 4;
        uint32_t const ownBits = bits[own < windows ? own : 0];
        int32_t count = 0;
#pragma unroll 4
        for (int32_t four = warp; four < fours; four += kCountWarps)
        {
            uint4 const others = shared[four]; // the same for all lanes
            uint32_t const most = ownBits - (four < ownFour ? 0U : 1U);
            count += (others.x <= most ? 1 : 0) + (others.y <= most ? 1 : 0) + (others.z <= most ? 1 : 0)
                + (others.w <= most ? 1 : 0);
        }
        counts[warp][lane] = count;
        __syncthreads();
        if (warp == 0 && own < windows)
        {
            int32_t place = 0;
#pragma unroll
            for (int32_t i = 0; i < kCountWarps; ++i)
            {
                place += counts[i][lane];
            }
            uint4 const near = shared[ownFour];
            int32_t const before = own % 4;
            place += (before > 0 && near.x == ownBits ? 1 : 0) + (before > 1 && near.y == ownBits ? 1 : 0)
                + (before > 2 && near.z == ownBits ? 1 : 0);
            order[sample * windows + place] = own;
        }
        __syncthreads(); // the next sample's take these places
    }
}

//! A block sorts a tile of a sample's windows.
__global__ void __launch_bounds__(kTile / 2)
    sortTiles(int32_t windows, int64_t batch, float const* __restrict__ scores, uint64_t* __restrict__ sorted)
{
    __shared__ uint64_t keys[kTile];
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int32_t const first = static_cast<int32_t>(blockIdx.x) * kTile;
    int32_t const count = windows - first < kTile ? windows - first : kTile;
    for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y)
    {
        int64_t const base = sample * windows + first;
        for (int32_t i = thread; i < kTile; i += kTile / 2)
        {
            keys[i] = i < count ? rankKey(scores[base + i], static_cast<uint32_t>(first + i)) : kNoWindow;
        }
        for (int32_t run = 2; run <= kTile; run *= 2)
        {
            for (int32_t apart = run / 2; apart > 0; apart /= 2)
            {
                __syncthreads();
                int32_t const low = 2 * thread - (thread & (apart - 1));
                int32_t const high = low + apart;
                bool const rises = (low & run) == 0;
                uint64_t const a = keys[low];
                uint64_t const b = keys[high];
                if ((a > b) == rises)
                {
                    keys[low] = b;
                    keys[high] = a;
                }
            }
        }
        __syncthreads();
        for (int32_t i = thread; i < count; i += kTile / 2)
        {
            sorted[base + i] = keys[i];
        }
        __syncthreads();
    }
}

//! A thread per window: its place is its own in its tile, and how many of each other tile precede it.
__global__ void __launch_bounds__(kMergeThreads)
    mergeTiles(int32_t windows, int64_t batch, uint64_t const* __restrict__ sorted, int32_t* __restrict__ order)
{
    int32_t const own = static_cast<int32_t>(blockIdx.x * kMergeThreads + threadIdx.x);
    if (own >= windows)
    {
        return;
    }
    for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y)
    {
        uint64_t const* const keys = sorted + sample * windows;
        uint64_t const key = keys[own];
        int32_t place = own % kTile;
        for (int32_t first = 0; first < windows; first += kTile)
        {
            if (first != own / kTile * kTile)
            {
                int32_t low = 0;
                int32_t high = windows - first < kTile ? windows - first : kTile;
                while (low < high)
                {
                    int32_t const middle = (low + high) / 2;
                    bool const precedes = keys[first + middle] < key;
                    low = precedes ? middle + 1 : low;
                    high = precedes ? high : middle;
                }
                place += low;
            }
        }
        order[sample * windows + place] = static_cast<int32_t>(key & 0xffffffffU);
    }
}

bool isUsable(int32_t windows, int64_t batch, void const* workspace)
{
    bool const isPlaced = reinterpret_cast<uintptr_t>(workspace) % sizeof(uint64_t) == 0;
    return windows >= 1 && windows <= 0x7fffffff - kTile && batch >= 0 && isPlaced;
}

} // namespace

size_t windowRankWorkspace(WindowGrid const& grid, int64_t batch) noexcept
{
    int32_t const windows = grid.windows();
    size_t const bytes = windows <= kCounted ? sizeof(float) : sizeof(uint64_t);
    return batch <= 0 ? 0 : static_cast<size_t>(batch) * static_cast<size_t>(windows) * bytes;
}

float* windowRankScores(int32_t windows, int32_t* order, void* workspace) noexcept
{
    static_assert(sizeof(float) == sizeof(int32_t));
    return windows <= kCounted ? static_cast<float*>(workspace) : reinterpret_cast<float*>(order);
}

cudaError_t launchWindowSort(
    int32_t windows, int64_t batch, int32_t* order, void* workspace, cudaStream_t stream) noexcept
{
    if (!isUsable(windows, batch, workspace))
    {
        return cudaErrorInvalidValue;
    }
    if (batch == 0)
    {
        return cudaSuccess;
    }
    float const* const scores = windowRankScores(windows, order, workspace);
    unsigned int const samples = sampleBlocks(batch);
    if (windows <= kCounted)
    {
        dim3 const blocks{(static_cast<unsigned int>(windows) - 1) / kLanes + 1, samples};
        return launch(countPlaces, blocks, kCountThreads, stream, windows, batch, scores, order);
    }
    auto* const sorted = static_cast<uint64_t*>(workspace);
    dim3 const tiles{(static_cast<unsigned int>(windows) - 1) / kTile + 1, samples};
    cudaError_t const done = launch(sortTiles, tiles, kTile / 2, stream, windows, batch, scores, sorted);
    if (done != cudaSuccess)
    {
        return done;
    }
    dim3 const blocks{(static_cast<unsigned int>(windows) - 1) / kMergeThreads + 1, samples};
    return launch(mergeTiles, blocks, kMergeThreads, stream, windows, batch, sorted, order);
}

cudaError_t launchWindowRank(WindowRankParams const& p, cudaStream_t stream) noexcept
{
    if (!isUsable(p.grid.windows(), p.batch, p.workspace))
    {
        return cudaErrorInvalidValue;
    }
    WindowScoreParams scores{};
    scores.grid = p.grid;
    scores.batch = p.batch;
    scores.channels = p.channels;
    scores.element = p.element;
    scores.x = p.x;
    scores.scores = windowRankScores(p.grid.windows(), p.order, p.workspace);
    cudaError_t const scored = launchWindowScore(scores, stream);
    return scored != cudaSuccess ? scored : launchWindowSort(p.grid.windows(), p.batch, p.order, p.workspace, stream);
}

} // namespace sparsevit
