#include "kernels/window_rank/kernel.h"

#include "kernels/launch.cuh"
#include "kernels/window_rank/key.h"
#include "kernels/window_score/kernel.h"

namespace sparsevit
{
namespace
{

constexpr int32_t kTile{2048}; //!< windows that a block sorts
constexpr uint32_t kMostThreads{kTile / 2};
constexpr uint32_t kMergeThreads{256};

int32_t tilesOf(int32_t windows)
{
    return (windows - 1) / kTile + 1;
}

//! A block sorts a tile of a sample's windows; `size` is a power of two that has room for it. Ids replace the scores
//! where there is one tile; sorted keys of several go to `sorted`.
__global__ void __launch_bounds__(kMostThreads)
    sortTiles(int32_t windows, int32_t size, int64_t batch, int32_t* order, uint64_t* sorted)
{
    __shared__ uint64_t keys[kTile];
    auto const thread = static_cast<int32_t>(threadIdx.x);
    auto const threads = static_cast<int32_t>(blockDim.x);
    int32_t const first = static_cast<int32_t>(blockIdx.x) * kTile;
    int32_t const count = windows - first < kTile ? windows - first : kTile;
    for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y)
    {
        int32_t* const list = order + sample * windows + first;
        for (int32_t i = thread; i < size; i += threads)
        {
            keys[i] = i < count
                ? rankKey(__uint_as_float(static_cast<uint32_t>(list[i])), static_cast<uint32_t>(first + i))
                : kNoWindow;
        }
        for (int32_t run = 2; run <= size; run *= 2)
        {
            for (int32_t apart = run / 2; apart > 0; apart /= 2)
            {
                __syncthreads();
                for (int32_t i = thread; i < size / 2; i += threads)
                {
                    int32_t const low = 2 * i - (i & (apart - 1));
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
        }
        __syncthreads();
        for (int32_t i = thread; i < count; i += threads)
        {
            if (sorted == nullptr)
            {
                list[i] = static_cast<int32_t>(keys[i] & 0xffffffffU);
            }
            else
            {
                sorted[sample * windows + first + i] = keys[i];
            }
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
    bool const isPlaced = windows <= kTile || reinterpret_cast<uintptr_t>(workspace) % sizeof(uint64_t) == 0;
    return windows >= 1 && windows <= 0x7fffffff - kTile && batch >= 0 && isPlaced;
}

} // namespace

size_t windowRankWorkspace(WindowGrid const& grid, int64_t batch) noexcept
{
    int32_t const windows = grid.windows();
    return windows <= kTile || batch <= 0
        ? 0
        : static_cast<size_t>(batch) * static_cast<size_t>(windows) * sizeof(uint64_t);
}

cudaError_t launchWindowSort(
    int32_t windows, int64_t batch, int32_t* order, void* workspace, cudaStream_t stream) noexcept
{
    if (!isUsable(windows, batch, workspace))
    {
        return cudaErrorInvalidValue;
    }
    bool const isMerged = windows > kTile;
    if (batch == 0)
    {
        return cudaSuccess;
    }
    int32_t size = 64;
    while (size < windows && size < kTile)
    {
        size *= 2;
    }
    auto* const sorted = isMerged ? static_cast<uint64_t*>(workspace) : nullptr;
    dim3 const tiles{static_cast<unsigned int>(tilesOf(windows)), sampleBlocks(batch)};
    cudaError_t const done =
        launch(sortTiles, tiles, static_cast<unsigned int>(size / 2), stream, windows, size, batch, order, sorted);
    if (done != cudaSuccess || !isMerged)
    {
        return done;
    }
    dim3 const blocks{(static_cast<unsigned int>(windows) - 1) / kMergeThreads + 1, sampleBlocks(batch)};
    return launch(mergeTiles, blocks, kMergeThreads, stream, windows, batch, sorted, order);
}

cudaError_t launchWindowRank(WindowRankParams const& p, cudaStream_t stream) noexcept
{
    static_assert(sizeof(float) == sizeof(int32_t));
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
    scores.scores = reinterpret_cast<float*>(p.order); // the sort reads them there
    cudaError_t const scored = launchWindowScore(scores, stream);
    return scored != cudaSuccess ? scored : launchWindowSort(p.grid.windows(), p.batch, p.order, p.workspace, stream);
}

} // namespace sparsevit
