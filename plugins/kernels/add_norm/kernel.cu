#include "kernels/add_norm/kernel.h"

#include "kernels/row_norm.cuh"

namespace sparsevit
{
namespace
{

//! What all threads are given.
struct Rows : RowTeams
{
    int64_t count;
};

//! x + (update + bias) in float, rounded once.
template <Element kElement, typename Vector>
__device__ Vector added(Vector x, Vector update, Vector bias)
{
    constexpr int32_t kElements{Lanes<kElement, Vector>::kCount};
    float sums[kElements];
    float terms[kElements];
    unpack<kElement>(update, sums);
    unpack<kElement>(bias, terms);
#pragma unroll
    for (int32_t i = 0; i < kElements; ++i)
    {
        sums[i] += terms[i];
    }
    unpack<kElement>(x, terms);
#pragma unroll
    for (int32_t i = 0; i < kElements; ++i)
    {
        sums[i] += terms[i];
    }
    Vector sum{};
    pack<kElement>(sums, sum);
    return sum;
}

//! A team takes a row, kHeld vectors a thread. x and sum may be the same.
template <Element kElement, int32_t kHeld>
__global__ void __launch_bounds__(RowLaunch::kMostThreads)
    addNorm(Rows rows, uint4 const* x, uint4 const* __restrict__ update, uint4 const* __restrict__ bias,
        uint4 const* __restrict__ scale, uint4 const* __restrict__ shift, uint4* sum, uint4* __restrict__ normed)
{
    constexpr int32_t kAtOnce{kHeld == 4 ? 4 : 3}; // vectors that are on their way
    constexpr bool kEarly{kHeld <= 4};             // scale and shift are fetched while the sums are
    RowTeam const team = rows.own();
    int64_t const row = rows.row();
    int32_t const lanes = row < rows.count ? rows.lanes : 0;
    int64_t const start = row * rows.lanes;
    uint4 held[kHeld];
    uint4 factors[kEarly ? kHeld : 1];
    uint4 terms[kEarly ? kHeld : 1];
#pragma unroll
    for (int32_t first = 0; first < kHeld; first += kAtOnce)
    {
        uint4 read[kAtOnce][3];
#pragma unroll
        for (int32_t i = 0; i < kAtOnce; ++i)
        {
            int32_t const lane = team.lane(first + i);
            read[i][0] = read[i][1] = read[i][2] = uint4{};
            if (lane < lanes)
            {
                read[i][0] = x[start + lane];
                read[i][1] = update[start + lane];
                read[i][2] = bias[lane];
            }
        }
        if constexpr (kEarly)
        {
#pragma unroll
            for (int32_t i = 0; i < kAtOnce; ++i)
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
#pragma unroll
        for (int32_t i = 0; i < kAtOnce; ++i)
        {
            held[first + i] = added<kElement>(read[i][0], read[i][1], read[i][2]);
        }
    }
    Moments const moments = momentsOf<kElement>(team, held);
#pragma unroll
    for (int32_t i = 0; i < kHeld; ++i)
    {
        int32_t const lane = team.lane(i);
        if (lane < lanes)
        {
            sum[start + lane] = held[i];
            if constexpr (kEarly)
            {
                normed[start + lane] = normalised<kElement>(held[i], moments, factors[i], terms[i]);
            }
            else
            {
                normed[start + lane] = normalised<kElement>(held[i], moments, scale[lane], shift[lane]);
            }
        }
    }
}

//! A warp takes a row, element by element, and reads back its own sums.
template <Element kElement>
__global__ void __launch_bounds__(RowLaunch::kMostThreads)
    addNormPlain(Rows rows, typename Cell<kElement>::Type const* x, typename Cell<kElement>::Type const* update,
        typename Cell<kElement>::Type const* bias, typename Cell<kElement>::Type const* scale,
        typename Cell<kElement>::Type const* shift, typename Cell<kElement>::Type* sum,
        typename Cell<kElement>::Type* normed)
{
    RowTeam team = rows.own();
    int64_t const row = rows.row();
    team.lanes = row < rows.count ? rows.lanes : 0;
    int64_t const start = row * rows.lanes;
    for (int32_t i = team.member; i < team.lanes; i += team.threads)
    {
        sum[start + i] = added<kElement>(x[start + i], update[start + i], bias[i]);
    }
    Moments const moments = momentsOf(team, [&](int32_t i) { return toFloat<kElement>(sum[start + i]); });
    for (int32_t i = team.member; i < team.lanes; i += team.threads)
    {
        normed[start + i] = fromFloat<kElement>(normalised(toFloat<kElement>(sum[start + i]), moments,
            toFloat<kElement>(scale[i]), toFloat<kElement>(shift[i])));
    }
}

template <Element kElement>
cudaError_t launchAs(AddNormParams const& p, cudaStream_t stream)
{
    using Type = typename Cell<kElement>::Type;
    int64_t const rowBytes = p.channels * static_cast<int64_t>(sizeof(Type));
    bool const isAligned = vectorBytes(rowBytes, {p.x, p.update, p.bias, p.scale, p.shift, p.sum, p.normed}) == 16;
    RowLaunch const shared{p.rows, isAligned ? rowBytes / 16 : 0};
    Rows rows{};
    rows.count = p.rows;
    rows.team = shared.team;
    rows.lanes = static_cast<int32_t>(shared.held != 0 ? rowBytes / 16 : p.channels);
    rows.channels = static_cast<float>(p.channels);
    rows.epsilon = p.epsilon;
    auto const run = [&](auto kernel, auto unit)
    {
        using Unit = decltype(unit);
        return launch(kernel, shared.blocks, static_cast<unsigned int>(shared.threads), stream, rows,
            static_cast<Unit const*>(p.x), static_cast<Unit const*>(p.update), static_cast<Unit const*>(p.bias),
            static_cast<Unit const*>(p.scale), static_cast<Unit const*>(p.shift), static_cast<Unit*>(p.sum),
            static_cast<Unit*>(p.normed));
    };
    switch (shared.held)
    {
    case 3: return run(addNorm<kElement, 3>, uint4{});
    case 4: return run(addNorm<kElement, 4>, uint4{});
    case 6: return run(addNorm<kElement, 6>, uint4{});
    case 12: return run(addNorm<kElement, 12>, uint4{});
    default: return run(addNormPlain<kElement>, Type{});
    }
}

} // namespace

cudaError_t launchAddNorm(AddNormParams const& p, cudaStream_t stream) noexcept
{
    if (p.rows < 0 || p.rows > RowLaunch::kMostRows || p.channels < 1 || p.channels > (int64_t{1} << 30))
    {
        return cudaErrorInvalidValue;
    }
    if (p.rows == 0)
    {
        return cudaSuccess;
    }
    return withElement(p.element, [&](auto type) { return launchAs<decltype(type)::kValue>(p, stream); });
}

} // namespace sparsevit
