#include "kernels/patch_embed/kernel.h"

#include "kernels/patch_embed/embedding.cuh"
#include "kernels/patch_embed/tiles.cuh"

namespace sparsevit
{
namespace
{

constexpr int32_t kWarps{8};
constexpr int32_t kThreads{kWarpLanes * kWarps};
constexpr int32_t kTurns{4}; //!< of a block, for which it reads the matrix once

//! Sum over a warp, in all of its threads.
__device__ float sumOfWarp(float value)
{
#pragma unroll
    for (int32_t apart = kWarpLanes / 2; apart > 0; apart /= 2)
    {
        value += __shfl_xor_sync(0xffffffffU, value, apart);
    }
    return value;
}

//! A lane has channels lane, lane + 32, ...: kPerLane of them, of kPatches (a multiple of 4) patches at a time.
template <Element kElement, int32_t kPerLane, int32_t kPatches>
__global__ void __launch_bounds__(kThreads)
    embedPatches(Embedding with, typename Cell<kElement>::Type const* __restrict__ scale,
        typename Cell<kElement>::Type const* __restrict__ shift, typename Cell<kElement>::Type* __restrict__ tokens)
{
    constexpr int32_t kChannels{kPerLane * kWarpLanes};
    __shared__ float weights[kPatchBytes][kChannels];
    __shared__ float4 bytes[kWarps][kPatchBytes][kPatches / 4]; // by byte: four patches are read at once
    int32_t const channels = with.channels;
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int32_t const lane = thread % kWarpLanes;
    auto& own = bytes[thread / kWarpLanes];
    for (int32_t i = thread; i < kPatchBytes * kChannels; i += kThreads)
    {
        int32_t const channel = i % kChannels;
        weights[i / kChannels][channel] =
            channel < channels ? with.weight[int64_t{i / kChannels} * channels + channel] : 0.0F;
    }
    float biases[kPerLane];
    float factors[kPerLane];
    float terms[kPerLane];
#pragma unroll
    for (int32_t j = 0; j < kPerLane; ++j)
    {
        int32_t const channel = lane + j * kWarpLanes;
        bool const isReal = channel < channels;
        biases[j] = isReal ? with.bias[channel] : 0.0F;
        factors[j] = isReal ? toFloat<kElement>(scale[channel]) : 0.0F;
        terms[j] = isReal ? toFloat<kElement>(shift[channel]) : 0.0F;
    }
    __syncthreads();
    for (int32_t turn = 0; turn < kTurns; ++turn)
    {
        uint32_t const first =
            ((blockIdx.x * kTurns + static_cast<uint32_t>(turn)) * kWarps + static_cast<uint32_t>(thread / kWarpLanes))
            * kPatches;
        __syncwarp();
        for (int32_t i = lane; i < kPatches * kPatchBytes; i += kWarpLanes)
        {
            int32_t const patch = i / kPatchBytes;
            int32_t const byte = i % kPatchBytes;
            uint32_t const at = first + static_cast<uint32_t>(patch);
            reinterpret_cast<float*>(own[byte])[patch] = at < with.patches ? with.at(at, byte) : 0.0F;
        }
        __syncwarp();
        float sums[kPatches][kPerLane];
#pragma unroll
        for (int32_t i = 0; i < kPatches; ++i)
        {
#pragma unroll
            for (int32_t j = 0; j < kPerLane; ++j)
            {
                sums[i][j] = biases[j];
            }
        }
#pragma unroll 4
        for (int32_t byte = 0; byte < kPatchBytes; ++byte)
        {
            float column[kPerLane];
#pragma unroll
            for (int32_t j = 0; j < kPerLane; ++j)
            {
                column[j] = weights[byte][lane + j * kWarpLanes];
            }
#pragma unroll
            for (int32_t four = 0; four < kPatches / 4; ++four)
            {
                float4 const values = own[byte][four];
                float const row[4]{values.x, values.y, values.z, values.w};
#pragma unroll
                for (int32_t i = 0; i < 4; ++i)
                {
#pragma unroll
                    for (int32_t j = 0; j < kPerLane; ++j)
                    {
                        sums[4 * four + i][j] += row[i] * column[j];
                    }
                }
            }
        }
#pragma unroll
        for (int32_t i = 0; i < kPatches; ++i)
        {
            float sum = 0.0F;
#pragma unroll
            for (int32_t j = 0; j < kPerLane; ++j)
            {
                sum += sums[i][j]; // nothing where there is no channel
            }
            float const mean = sumOfWarp(sum) / static_cast<float>(channels);
            float squares = 0.0F;
#pragma unroll
            for (int32_t j = 0; j < kPerLane; ++j)
            {
                float const deviation = lane + j * kWarpLanes < channels ? sums[i][j] - mean : 0.0F;
                squares += deviation * deviation;
            }
            float const inverse = 1.0F / sqrtf(sumOfWarp(squares) / static_cast<float>(channels) + with.epsilon);
            uint32_t const patch = first + static_cast<uint32_t>(i);
#pragma unroll
            for (int32_t j = 0; j < kPerLane; ++j)
            {
                int32_t const channel = lane + j * kWarpLanes;
                if (patch < with.patches && channel < channels)
                {
                    tokens[int64_t{patch} * channels + channel] =
                        fromFloat<kElement>((sums[i][j] - mean) * inverse * factors[j] + terms[j]);
                }
            }
        }
    }
}

//! Any number of channels: a warp takes a patch, and computes its products three times.
template <Element kElement>
__global__ void __launch_bounds__(kThreads)
    embedPlain(Embedding with, typename Cell<kElement>::Type const* __restrict__ scale,
        typename Cell<kElement>::Type const* __restrict__ shift, typename Cell<kElement>::Type* __restrict__ tokens)
{
    __shared__ float bytes[kWarps][kPatchBytes];
    int32_t const channels = with.channels;
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int32_t const lane = thread % kWarpLanes;
    float* const own = bytes[thread / kWarpLanes];
    uint32_t const patch = blockIdx.x * kWarps + static_cast<uint32_t>(thread / kWarpLanes);
    for (int32_t i = lane; i < kPatchBytes; i += kWarpLanes)
    {
        own[i] = patch < with.patches ? with.at(patch, i) : 0.0F;
    }
    __syncwarp();
    auto const product = [&](int32_t channel)
    {
        float sum = with.bias[channel];
#pragma unroll 8
        for (int32_t byte = 0; byte < kPatchBytes; ++byte)
        {
            sum += own[byte] * with.weight[int64_t{byte} * channels + channel];
        }
        return sum;
    };
    float sum = 0.0F;
    for (int32_t channel = lane; channel < channels; channel += kWarpLanes)
    {
        sum += product(channel);
    }
    float const mean = sumOfWarp(sum) / static_cast<float>(channels);
    float squares = 0.0F;
    for (int32_t channel = lane; channel < channels; channel += kWarpLanes)
    {
        float const deviation = product(channel) - mean;
        squares += deviation * deviation;
    }
    float const inverse = 1.0F / sqrtf(sumOfWarp(squares) / static_cast<float>(channels) + with.epsilon);
    for (int32_t channel = lane; channel < channels && patch < with.patches; channel += kWarpLanes)
    {
        tokens[int64_t{patch} * channels + channel] =
            fromFloat<kElement>((product(channel) - mean) * inverse * toFloat<kElement>(scale[channel])
                + toFloat<kElement>(shift[channel]));
    }
}

//! Turns of a block on tensor cores: more where there are patches for several waves of blocks anyway.
int32_t tileTurns(uint32_t patches)
{
    uint32_t const turns = patches / (512 * kBlockPatches);
    return static_cast<int32_t>(turns < 1 ? 1 : turns > 8 ? 8 : turns);
}

template <Element kElement>
cudaError_t launchTiles(PatchEmbedParams const& p, Embedding const& with, cudaStream_t stream)
{
    using Type = typename Cell<kElement>::Type;
    int32_t const turns = tileTurns(with.patches);
    dim3 const blocks{(with.patches - 1) / static_cast<uint32_t>(turns * kBlockPatches) + 1};
    bool const hasWords = p.width % 4 == 0 && reinterpret_cast<uintptr_t>(p.image) % 4 == 0;
    auto const run = [&](auto kernel)
    {
        return launch(kernel, blocks, kTileThreads, stream, with, turns, hasWords, static_cast<Type const*>(p.scale),
            static_cast<Type const*>(p.shift), static_cast<uint4*>(p.tokens));
    };
    return with.channels <= 96 ? run(embedTiles<kElement, 12>)
        : with.channels <= 128 ? run(embedTiles<kElement, 16>)
                               : run(embedTiles<kElement, 24>);
}

template <Element kElement>
cudaError_t launchAs(PatchEmbedParams const& p, Embedding const& with, cudaStream_t stream)
{
    using Type = typename Cell<kElement>::Type;
    if constexpr (kElement != Element::kFloat)
    {
        bool const hasVectors = with.channels % 8 == 0 && reinterpret_cast<uintptr_t>(p.tokens) % 16 == 0;
        if (hasVectors && with.channels <= 192)
        {
            return launchTiles<kElement>(p, with, stream);
        }
    }
    auto const run = [&](auto kernel, uint32_t perBlock)
    {
        dim3 const blocks{(with.patches - 1) / perBlock + 1};
        return launch(kernel, blocks, kThreads, stream, with, static_cast<Type const*>(p.scale),
            static_cast<Type const*>(p.shift), static_cast<Type*>(p.tokens));
    };
    switch ((with.channels - 1) / kWarpLanes)
    {
    case 0:
    case 1:
    case 2: return run(embedPatches<kElement, 3, 8>, kWarps * kTurns * 8);
    case 3: return run(embedPatches<kElement, 4, 8>, kWarps * kTurns * 8);
    case 4:
    case 5: return run(embedPatches<kElement, 6, 4>, kWarps * kTurns * 4);
    default: return run(embedPlain<kElement>, kWarps);
    }
}

} // namespace

cudaError_t launchPatchEmbed(PatchEmbedParams const& p, cudaStream_t stream) noexcept
{
    int64_t const most = int64_t{1} << 30;
    if (p.batch < 0 || p.height < 1 || p.width < 1 || p.height > most || p.width > most || p.padMultiple < kPatchSide
        || p.padMultiple > most || p.padMultiple % kPatchSide != 0 || p.channels < 1 || p.channels > most)
    {
        return cudaErrorInvalidValue;
    }
    auto const patchesAlong = [&](int64_t pixels)
    {
        return (pixels + p.padMultiple - 1) / p.padMultiple * (p.padMultiple / kPatchSide);
    };
    int64_t const perImage = patchesAlong(p.height) * patchesAlong(p.width);
    int64_t const limit = (int64_t{1} << 31) - kWarps * kTurns * 8; // the last block may count past the end
    if (perImage > limit || p.batch > limit / perImage)
    {
        return cudaErrorInvalidValue;
    }
    if (p.batch == 0)
    {
        return cudaSuccess;
    }
    Embedding with{};
    with.grid = PatchGrid{
        p.height, p.width, static_cast<int32_t>(patchesAlong(p.height)), static_cast<int32_t>(patchesAlong(p.width))};
    with.patches = static_cast<uint32_t>(p.batch * perImage);
    with.channels = static_cast<int32_t>(p.channels);
    with.share = 1.0F / static_cast<float>(p.channels);
    with.epsilon = p.epsilon;
    with.image = p.image;
    with.weight = p.weight;
    with.bias = p.bias;
    with.mean = p.mean;
    return withElement(p.element, [&](auto type) { return launchAs<decltype(type)::kValue>(p, with, stream); });
}

} // namespace sparsevit
