// LayerNorm of a row that a team of neighbouring threads holds, vector by vector: statistics in float, the variance in a
// pass of its own.
#pragma once

#include "kernels/element_cast.cuh"
#include "kernels/token_team.h"

namespace sparsevit
{

//! The place of a thread in its team, and the row that the team holds.
struct RowTeam
{
    int32_t threads; //!< a power of two up to a warp
    int32_t member;
    int32_t lanes; //!< vectors of a row: the team's threads take them in turn
    float channels;
    float epsilon;

    //! The thread's i-th vector of the row; beyond its last, `lanes` or more.
    __device__ int32_t lane(int32_t i) const
    {
        return member + i * threads;
    }

    //! Sum over the team, in all of its threads. Every thread of the warp must come here.
    __device__ float sum(float value) const
    {
        for (int32_t apart = threads / 2; apart > 0; apart /= 2)
        {
            value += __shfl_xor_sync(0xffffffffU, value, apart);
        }
        return value;
    }
};

//! How a launch's threads share rows: what all of them are given.
struct RowTeams
{
    int32_t team;
    int32_t lanes; //!< vectors or elements of a row
    float channels;
    float epsilon;

    __device__ RowTeam own() const
    {
        return {team, static_cast<int32_t>(threadIdx.x) & (team - 1), lanes, channels, epsilon};
    }
    __device__ int64_t row() const
    {
        auto const perBlock = static_cast<int32_t>(blockDim.x) / team;
        return int64_t{blockIdx.x} * perBlock + static_cast<int32_t>(threadIdx.x) / team;
    }
};

struct Moments
{
    float mean;
    float inverse; //!< one over the standard deviation
};

//! \param row The thread's vectors of the row; zeros beyond its end.
template <Element kElement, int32_t kHeld>
__device__ Moments momentsOf(RowTeam const& team, uint4 const (&row)[kHeld])
{
    constexpr int32_t kElements{Lanes<kElement, uint4>::kCount};
    float sum = 0.0F;
#pragma unroll
    for (int32_t i = 0; i < kHeld; ++i)
    {
        float values[kElements];
        unpack<kElement>(row[i], values);
#pragma unroll
        for (float const value : values)
        {
            sum += value;
        }
    }
    float const mean = team.sum(sum) / team.channels;
    float squares = 0.0F;
#pragma unroll
    for (int32_t i = 0; i < kHeld; ++i)
    {
        float values[kElements];
        unpack<kElement>(row[i], values);
        if (team.lane(i) < team.lanes)
        {
#pragma unroll
            for (float const value : values)
            {
                squares += (value - mean) * (value - mean);
            }
        }
    }
    return {mean, 1.0F / sqrtf(team.sum(squares) / team.channels + team.epsilon)};
}

//! The same of a row whose elements `at` gives, one by one, any number of times.
template <typename At>
__device__ Moments momentsOf(RowTeam const& team, At&& at)
{
    float sum = 0.0F;
    for (int32_t i = team.member; i < team.lanes; i += team.threads)
    {
        sum += at(i);
    }
    float const mean = team.sum(sum) / team.channels;
    float squares = 0.0F;
    for (int32_t i = team.member; i < team.lanes; i += team.threads)
    {
        float const deviation = at(i) - mean;
        squares += deviation * deviation;
    }
    return {mean, 1.0F / sqrtf(team.sum(squares) / team.channels + team.epsilon)};
}

__device__ inline float normalised(float value, Moments const& moments, float scale, float shift)
{
    return (value - moments.mean) * moments.inverse * scale + shift;
}

template <Element kElement>
__device__ uint4 normalised(uint4 vector, Moments const& moments, uint4 scale, uint4 shift)
{
    constexpr int32_t kElements{Lanes<kElement, uint4>::kCount};
    float values[kElements];
    float factors[kElements];
    float terms[kElements];
    unpack<kElement>(vector, values);
    unpack<kElement>(scale, factors);
    unpack<kElement>(shift, terms);
#pragma unroll
    for (int32_t i = 0; i < kElements; ++i)
    {
        values[i] = normalised(values[i], moments, factors[i], terms[i]);
    }
    uint4 answer{};
    pack<kElement>(values, answer);
    return answer;
}

//! How rows are shared out: `threads` of a block, `team` of them for a row.
struct RowLaunch
{
    static constexpr int32_t kMostThreads{256};

    dim3 blocks;
    int32_t threads;
    int32_t team;
    int32_t held; //!< vectors of a row in each thread; 0: a warp takes a row element by element

    //! \param vectors Of 16 bytes in a row; 0 where the addresses allow none. \param rows 1 to kMostRows.
    RowLaunch(int64_t rows, int64_t vectors)
    {
        TokenTeam const found = vectors == 0 ? TokenTeam{0, 0} : tokenTeam(vectors);
        held = found.held;
        team = held == 0 ? 32 : found.threads;
        // Few rows are spread over all of the GPU: in small blocks, which lie on more of its multiprocessors.
        threads = rows * team < kFew ? kMostThreads / 4 : kMostThreads;
        int64_t const perBlock = threads / team;
        blocks = dim3{static_cast<unsigned int>((rows + perBlock - 1) / perBlock)};
    }

    static constexpr int64_t kMostRows{(int64_t{1} << 31) - kMostThreads};

private:
    static constexpr int64_t kFew{int64_t{1} << 16}; // threads
};

} // namespace sparsevit
