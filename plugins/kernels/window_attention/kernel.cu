#include "kernels/window_attention/kernel.h"

#include "kernels/window_attention/plain.cuh"
#include "kernels/window_attention/tiles.cuh"
#include "kernels/window_attention/whole.cuh"

namespace sparsevit
{
namespace
{

constexpr int64_t kMost{int64_t{1} << 30};
constexpr double kMostBlocks{2147483647.0};
constexpr int64_t kMostTileChannels{int64_t{1} << 20}; //!< places within a window are 32-bit numbers
//! Of shared memory for windows of other sizes: what every GPU from compute capability 8.0 on gives a block.
constexpr int64_t kMostShared{96 << 10};

//! Blocks of a launch that take a head of a window, or one of `parts` of it; in float, which holds any product of
//! sizes.
double blocksOf(WindowAttentionParams const& p, double parts)
{
    return static_cast<double>(p.batch) * static_cast<double>(p.count) * p.heads * parts;
}

template <Element kElement>
AttentionArrays<kElement> arraysOf(WindowAttentionParams const& p)
{
    using Type = typename Cell<kElement>::Type;
    AttentionArrays<kElement> arrays{};
    arrays.qkv = static_cast<Type const*>(p.qkv);
    arrays.qkvBias = static_cast<Type const*>(p.qkvBias);
    arrays.positionBias = static_cast<Type const*>(p.positionBias);
    arrays.output = static_cast<Type*>(p.output);
    arrays.index = WindowIds{p.index, p.indexBytes == 8};
    arrays.kind = p.kind;
    arrays.windows = p.windows;
    arrays.kinds = p.kinds;
    arrays.channels = p.channels;
    arrays.byHeads = Divisor{static_cast<uint32_t>(p.heads)};
    arrays.heads = p.heads;
    arrays.tokens = p.windowSize * p.windowSize;
    return arrays;
}

template <Element kElement, int32_t kHeadDim, int32_t kTokens>
cudaError_t launchTiles(WindowAttentionParams const& p, cudaStream_t stream)
{
    using Shape = TileShape<kTokens>;
    auto const kernel = attendTiles<kElement, kHeadDim, kTokens>;
    int32_t const shared = Shape::sharedBytes(p.windowSize * p.windowSize, kHeadDim);
    if (shared > 48 << 10)
    {
        cudaError_t const raised = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
        if (raised != cudaSuccess)
        {
            return raised;
        }
    }
    dim3 const blocks{static_cast<unsigned int>(blocksOf(p, 1.0))};
    return launch(Launch{blocks, Shape::kThreads, static_cast<size_t>(shared)}, kernel, stream, arraysOf<kElement>(p));
}

template <Element kElement, int32_t kHeadDim, int32_t kTokens>
cudaError_t launchWhole(WindowAttentionParams const& p, cudaStream_t stream)
{
    using Shape = WholeShape<kTokens, kHeadDim>;
    static_assert(Shape::kSharedBytes <= 48 << 10);
    dim3 const blocks{static_cast<unsigned int>(blocksOf(p, 1.0))};
    auto const kernel = attendWhole<kElement, kHeadDim, kTokens>;
    return launch(Launch{blocks, Shape::kThreads, Shape::kSharedBytes}, kernel, stream, arraysOf<kElement>(p));
}

template <Element kElement, int32_t kHeadDim>
cudaError_t launchHeads(WindowAttentionParams const& p, cudaStream_t stream)
{
    switch (p.windowSize)
    {
    case 7: return launchWhole<kElement, kHeadDim, 49>(p, stream);
    case 8: return launchWhole<kElement, kHeadDim, 64>(p, stream);
    case 12: return launchTiles<kElement, kHeadDim, 144>(p, stream);
    default: return launchTiles<kElement, kHeadDim, 0>(p, stream);
    }
}

template <Element kElement, int32_t kChannels>
cudaError_t launchPlain(WindowAttentionParams const& p, int64_t headDim, cudaStream_t stream)
{
    int32_t const rowTiles = (p.windowSize * p.windowSize - 1) / kPlainTile + 1;
    auto const channelGroups = static_cast<int32_t>((headDim - 1) / (16 * kChannels) + 1);
    double const blocks = blocksOf(p, static_cast<double>(rowTiles) * channelGroups);
    if (blocks > kMostBlocks)
    {
        return cudaErrorInvalidValue;
    }
    PlainWork works{};
    works.byRowTiles = Divisor{static_cast<uint32_t>(rowTiles)};
    works.byChannelGroups = Divisor{static_cast<uint32_t>(channelGroups)};
    works.headDim = static_cast<int32_t>(headDim);
    return launch(attendPlain<kElement, kChannels>, dim3{static_cast<unsigned int>(blocks)}, kPlainThreads, stream,
        arraysOf<kElement>(p), works);
}

//! Whether the vectors and words that the tensor cores' kernel reads lie where they may.
bool isAligned(WindowAttentionParams const& p)
{
    auto const bits = reinterpret_cast<uintptr_t>(p.qkv) | reinterpret_cast<uintptr_t>(p.qkvBias)
        | reinterpret_cast<uintptr_t>(p.positionBias) | reinterpret_cast<uintptr_t>(p.output);
    return bits % 16 == 0;
}

} // namespace

cudaError_t launchWindowAttention(WindowAttentionParams const& p, cudaStream_t stream) noexcept
{
    if (p.batch < 0 || p.count < 0 || p.heads < 1 || p.windowSize < 1 || p.windowSize > 4096 || p.channels < 1
        || p.channels > kMost || p.channels % p.heads != 0 || p.kinds < 1 || p.windows < 0
        || (p.indexBytes != 4 && p.indexBytes != 8))
    {
        return cudaErrorInvalidValue;
    }
    if (blocksOf(p, 1.0) > kMostBlocks)
    {
        return cudaErrorInvalidValue;
    }
    if (p.batch == 0 || p.count == 0)
    {
        return cudaSuccess;
    }
    int64_t const headDim = p.channels / p.heads;
    int64_t const tileBytes = int64_t{3} * wholeTiles(p.windowSize * p.windowSize) * headDim * 2;
    bool const fits = isAligned(p) && tileBytes <= kMostShared && p.channels <= kMostTileChannels;
    return withElement(p.element,
        [&](auto type)
        {
            constexpr Element kElement = decltype(type)::kValue;
            if constexpr (kElement != Element::kFloat)
            {
                if (fits)
                {
                    switch (headDim)
                    {
                    case 16: return launchHeads<kElement, 16>(p, stream);
                    case 32: return launchHeads<kElement, 32>(p, stream);
                    case 64: return launchHeads<kElement, 64>(p, stream);
                    default: break;
                    }
                }
            }
            return headDim <= 16 ? launchPlain<kElement, 1>(p, headDim, stream)
                : headDim <= 32  ? launchPlain<kElement, 2>(p, headDim, stream)
                                 : launchPlain<kElement, 4>(p, headDim, stream);
        });
}

} // namespace sparsevit
