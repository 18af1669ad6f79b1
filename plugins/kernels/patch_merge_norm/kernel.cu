#include "kernels/patch_merge_norm/kernel.h"

#include "kernels/patch_merge_norm/patches.h"
#include "kernels/row_norm.cuh"

namespace sparsevit
{
namespace
{

//! What all threads are given.
struct Merging : RowTeams
{
    MergeGrid grid;
    int64_t patches; //!< of all maps
};

//! A team takes a patch, kHeld vectors a thread.
template <Element kElement, int32_t kHeld>
__global__ void __launch_bounds__(RowLaunch::kMostThreads)
    mergeNorm(Merging merging, uint4 const* __restrict__ x, uint4 const* __restrict__ scale,
        uint4 const* __restrict__ shift, uint4* __restrict__ normed)
{
    //! Scale and shift are fetched while the patch is, but where that would take more registers than there are.
    constexpr bool kEarly{kHeld == 3 || kHeld == 6};
    RowTeam const team = merging.own();
    int64_t const row = merging.row();
    int32_t const lanes = row < merging.patches ? merging.lanes : 0;
    MergeGrid::Patch const patch = merging.grid.patch(static_cast<uint32_t>(row));
    uint4 const* const from = x + patch.place;
    uint4 held[kHeld];
    uint4 factors[kEarly ? kHeld : 1];
    uint4 terms[kEarly ? kHeld : 1];
#pragma unroll
    for (int32_t i = 0; i < kHeld; ++i)
    {
        int32_t const lane = team.lane(i);
        int32_t const offset = merging.grid.offset(patch, lane);
        held[i] = uint4{};
        if (lane < lanes && offset != kBeyondMap)
        {
            held[i] = from[offset];
        }
    }
    if constexpr (kEarly)
    {
#pragma unroll
        for (int32_t i = 0; i < kHeld; ++i)
        {
            int32_t const lane = team.lane(i);
            factors[i] = terms[i] = uint4{};
            if (lane < lanes)
            {
                factors[i] = scale[lane];
                terms[i] = shift[lane];
            }
        }
    }
    Moments const moments = momentsOf<kElement>(team, held);
    uint4* const to = normed + row * merging.lanes;
#pragma unroll
    for (int32_t i = 0; i < kHeld; ++i)
    {
        int32_t const lane = team.lane(i);
        if (lane < lanes)
        {
            if constexpr (kEarly)
            {
                to[lane] = normalised<kElement>(held[i], moments, factors[i], terms[i]);
            }
            else
            {
                to[lane] = normalised<kElement>(held[i], moments, scale[lane], shift[lane]);
            }
        }
    }
}

//! A warp takes a patch, element by element, and reads it three times.
template <Element kElement>
__global__ void __launch_bounds__(RowLaunch::kMostThreads)
    mergeNormPlain(Merging merging, typename Cell<kElement>::Type const* __restrict__ x,
        typename Cell<kElement>::Type const* __restrict__ scale,
        typename Cell<kElement>::Type const* __restrict__ shift, typename Cell<kElement>::Type* __restrict__ normed)
{
    RowTeam team = merging.own();
    int64_t const row = merging.row();
    team.lanes = row < merging.patches ? merging.lanes : 0;
    MergeGrid::Patch const patch = merging.grid.patch(static_cast<uint32_t>(row));
    auto const at = [&](int32_t i)
    {
        int32_t const offset = merging.grid.offset(patch, i);
        return offset == kBeyondMap ? 0.0F : toFloat<kElement>(x[patch.place + offset]);
    };
    Moments const moments = momentsOf(team, at);
    for (int32_t i = team.member; i < team.lanes; i += team.threads)
    {
        normed[row * merging.lanes + i] = fromFloat<kElement>(
            normalised(at(i), moments, toFloat<kElement>(scale[i]), toFloat<kElement>(shift[i])));
    }
}

template <Element kElement>
cudaError_t launchAs(PatchMergeNormParams const& p, int64_t patches, cudaStream_t stream)
{
    using Type = typename Cell<kElement>::Type;
    int64_t const tokenBytes = p.channels * static_cast<int64_t>(sizeof(Type));
    bool const isAligned = vectorBytes(tokenBytes, {p.x, p.scale, p.shift, p.normed}) == 16;
    RowLaunch const shared{patches, isAligned ? tokenBytes / 4 : 0}; // four tokens of 16 bytes a vector
    auto const lanes = static_cast<int32_t>(shared.held != 0 ? tokenBytes / 16 : p.channels);
    Merging merging{};
    merging.grid = MergeGrid{p.height, p.width, lanes};
    merging.patches = patches;
    merging.team = shared.team;
    merging.lanes = 4 * lanes;
    merging.channels = static_cast<float>(4 * p.channels);
    merging.epsilon = p.epsilon;
    auto const run = [&](auto kernel, auto unit)
    {
        using Unit = decltype(unit);
        return launch(kernel, shared.blocks, static_cast<unsigned int>(shared.threads), stream, merging,
            static_cast<Unit const*>(p.x), static_cast<Unit const*>(p.scale), static_cast<Unit const*>(p.shift),
            static_cast<Unit*>(p.normed));
    };
    switch (shared.held)
    {
    case 3: return run(mergeNorm<kElement, 3>, uint4{});
    case 4: return run(mergeNorm<kElement, 4>, uint4{});
    case 6: return run(mergeNorm<kElement, 6>, uint4{});
    case 12: return run(mergeNorm<kElement, 12>, uint4{});
    default: return run(mergeNormPlain<kElement>, Type{});
    }
}

} // namespace

cudaError_t launchPatchMergeNorm(PatchMergeNormParams const& p, cudaStream_t stream) noexcept
{
    int64_t const most = int64_t{1} << 28;
    if (p.batch < 0 || p.height < 1 || p.width < 1 || p.height > most || p.width > most || p.channels < 1
        || p.channels > most / p.width)
    {
        return cudaErrorInvalidValue;
    }
    int64_t const perMap = (p.height + 1) / 2 * ((p.width + 1) / 2);
    if (perMap > RowLaunch::kMostRows || p.batch > RowLaunch::kMostRows / perMap)
    {
        return cudaErrorInvalidValue;
    }
    if (p.batch == 0)
    {
        return cudaSuccess;
    }
    return withElement(
        p.element, [&](auto type) { return launchAs<decltype(type)::kValue>(p, p.batch * perMap, stream); });
}

} // namespace sparsevit
