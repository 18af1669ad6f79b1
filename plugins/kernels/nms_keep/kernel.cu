#include "kernels/nms_keep/kernel.h"

#include "kernels/launch.cuh"
#include "kernels/nms_keep/overlap.h"

namespace sparsevit
{
namespace
{

constexpr int32_t kRankThreads{256};
constexpr int32_t kTile{64}; //!< boxes swept at once, a bit of a word each
constexpr int32_t kTeams{8}; //!< that share the comparisons of a tile
constexpr int32_t kSweepThreads{kTile * kTeams};
constexpr int32_t kBitsPerTeam{kTile / kTeams};
static_assert(kTile == 64 && kBitsPerTeam == 8); // a word per box, a byte of it per team
constexpr int64_t kMostBoxes{int64_t{1} << 30};

//! What the two kernels leave for each other; arrays of the whole call, group after group.
struct Workspace
{
    Box* boxes;     //!< (G, N) in the order they are looked at; from the front, those kept so far replace them
    int32_t* order; //!< (G, N) their indices
    int32_t* taken; //!< (G) how many take part
};

//! A thread per box counts how many come before it: its place. That is as many comparisons as boxes squared, few beside
//! the launches for the thousands there are, and needs no exchange between threads and no order among blocks.
__global__ void __launch_bounds__(kRankThreads)
    nmsRank(float const* __restrict__ boxes, float const* __restrict__ scores, float scoreThreshold, int64_t groups,
        int32_t count, Workspace workspace, int32_t* __restrict__ keep)
{
    __shared__ float keys[kRankThreads];
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int32_t const own = static_cast<int32_t>(blockIdx.x) * kRankThreads + thread;
    for (int64_t group = blockIdx.y; group < groups; group += gridDim.y)
    {
        int64_t const base = group * count;
        auto const key = [&](int32_t i)
        {
            return i < count ? keyOf(Box::at(boxes + (base + i) * 4), scores[base + i], scoreThreshold) : kNoKey;
        };
        float const ownKey = key(own);
        int32_t place = 0;
        int32_t taken = 0;
        for (int32_t first = 0; first < count; first += kRankThreads)
        {
            __syncthreads();
            keys[thread] = key(first + thread);
            __syncthreads();
#pragma unroll 8
            for (int32_t i = 0; i < kRankThreads; ++i)
            {
                place += isBefore(keys[i], first + i, ownKey, own) ? 1 : 0;
                taken += keys[i] > kNoKey ? 1 : 0;
            }
        }
        if (own < count)
        {
            keep[base + own] = 0;
            if (ownKey > kNoKey)
            {
                workspace.boxes[base + place] = Box::at(boxes + (base + own) * 4);
                workspace.order[base + place] = own;
            }
        }
        if (own == 0)
        {
            workspace.taken[group] = taken;
        }
    }
}

//! A block per group goes through its boxes in order, a tile at a time. All threads compare the tile's boxes with those
//! kept before and with each other; one thread then decides, a word per box.
__global__ void __launch_bounds__(kSweepThreads)
    nmsSweep(float iou, int32_t count, int32_t limit, Workspace workspace, int32_t* __restrict__ keep)
{
    __shared__ Box tile[kTile];
    __shared__ bool isOut[kTile];
    __shared__ uint64_t suppresses[kTile]; //!< bit j of word i: box i suppresses the later box j of the tile
    __shared__ int32_t places[kTile];      //!< among those kept, or -1
    __shared__ int32_t kept;
    int64_t const base = int64_t{blockIdx.x} * count;
    Box* const boxes = workspace.boxes + base;
    int32_t const* const order = workspace.order + base;
    int32_t const taken = workspace.taken[blockIdx.x];
    auto const thread = static_cast<int32_t>(threadIdx.x);
    // A warp has 32 boxes of the tile and one box to compare them with: one address to read.
    int32_t const member = thread % kTile;
    int32_t const team = thread / kTile;
    int32_t keptBefore = 0;
    for (int32_t first = 0; first < taken && keptBefore < limit; first += kTile)
    {
        bool const isReal = first + member < taken;
        if (team == 0)
        {
            if (isReal)
            {
                tile[member] = boxes[first + member];
            }
            isOut[member] = !isReal;
        }
        __syncthreads();
        if (isReal)
        {
            Box const own = tile[member];
            uint8_t bits = 0;
            for (int32_t i = 0; i < kBitsPerTeam; ++i)
            {
                int32_t const other = team * kBitsPerTeam + i;
                bool const hit = other > member && first + other < taken && overlaps(own, tile[other], iou);
                bits = static_cast<uint8_t>(bits | (hit ? 1U << i : 0U));
            }
            reinterpret_cast<uint8_t*>(suppresses)[member * kTeams + team] = bits; // the lowest byte first
            for (int32_t i = team; i < keptBefore; i += kTeams)
            {
                if (overlaps(boxes[i], own, iou))
                {
                    isOut[member] = true; // whichever thread says so says the same
                    break;
                }
            }
        }
        __syncthreads();
        if (thread == 0)
        {
            uint64_t out = 0;
            int32_t place = keptBefore;
            for (int32_t i = 0; i < kTile; ++i)
            {
                bool const stays = !isOut[i] && (out >> i & 1U) == 0 && place < limit;
                places[i] = stays ? place++ : -1;
                out |= stays ? suppresses[i] : 0;
            }
            kept = place;
        }
        __syncthreads();
        keptBefore = kept;
        if (team == 0 && places[member] >= 0)
        {
            boxes[places[member]] = tile[member]; // never past this tile: those behind are still to be read
            keep[base + order[first + member]] = 1;
        }
        __syncthreads();
    }
}

bool isUsable(int64_t groups, int64_t count)
{
    return groups >= 0 && count >= 0 && count <= kMostBoxes && groups <= kMostBoxes
        && (count == 0 || groups <= (int64_t{1} << 40) / count);
}

} // namespace

size_t nmsKeepWorkspace(int64_t groups, int64_t count) noexcept
{
    if (!isUsable(groups, count))
    {
        return 0;
    }
    return static_cast<size_t>(groups * count) * (sizeof(Box) + sizeof(int32_t))
        + static_cast<size_t>(groups) * sizeof(int32_t);
}

cudaError_t launchNmsKeep(NmsKeepParams const& p, cudaStream_t stream) noexcept
{
    if (!isUsable(p.groups, p.count) || p.limit < 0 || !(p.iou >= 0.0F) || p.scoreThreshold != p.scoreThreshold
        || reinterpret_cast<uintptr_t>(p.workspace) % alignof(Box) != 0)
    {
        return cudaErrorInvalidValue;
    }
    if (p.groups == 0 || p.count == 0)
    {
        return cudaSuccess;
    }
    Workspace workspace{};
    workspace.boxes = static_cast<Box*>(p.workspace);
    workspace.order = reinterpret_cast<int32_t*>(workspace.boxes + p.groups * p.count);
    workspace.taken = workspace.order + p.groups * p.count;
    auto const count = static_cast<int32_t>(p.count);
    auto const limit = static_cast<int32_t>(p.limit < p.count ? p.limit : p.count);
    dim3 const rankBlocks{static_cast<unsigned int>((count - 1) / kRankThreads + 1), sampleBlocks(p.groups)};
    cudaError_t const ranked = launch(nmsRank, rankBlocks, kRankThreads, stream, p.boxes, p.scores, p.scoreThreshold,
        p.groups, count, workspace, p.keep);
    if (ranked != cudaSuccess)
    {
        return ranked;
    }
    return launch(nmsSweep, dim3{static_cast<unsigned int>(p.groups)}, kSweepThreads, stream, p.iou, count, limit,
        workspace, p.keep);
}

} // namespace sparsevit
