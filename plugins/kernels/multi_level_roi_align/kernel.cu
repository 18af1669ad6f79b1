// The floor is the memory: the output once, and the cells under the boxes once from DRAM (neighbouring boxes share them
// in the caches). 1000 boxes, 256 channels, 7x7 bins in half precision are 25 MB written, and at most the 19 MB of all
// maps at 672x672 read: 0.2 ms on an AGX Orin (205 GB/s). With channels outermost, a row of a box is some 20
// neighbouring cells, 40 bytes: a warp that reads one row at a time fills most of its lanes and one or two lines of the
// cache, where a thread per bin would touch as many lines as there are bins. Counted in such accesses, about 28 rows
// and 20 shared reads per box and channel, the first-level cache is what limits: about five times the floor. Channels
// innermost would mend that; the convolutions around the node have them outermost.
#include "kernels/multi_level_roi_align/kernel.h"

#include "kernels/element_cast.cuh"

namespace sparsevit
{
namespace
{

constexpr int32_t kWarp{32};
constexpr int32_t kWarps{8};
constexpr int32_t kThreads{kWarp * kWarps};
constexpr int32_t kChannelsPerBlock{64};
constexpr int32_t kMostBins{14};     //!< along a side, for the way by weights
constexpr int32_t kMostCells{512};   //!< of all bands of an axis, for the way by weights
constexpr int32_t kPitch{kWarp + 1}; //!< of rows in shared memory: a column is on different banks
constexpr int32_t kMostRounds{
    (kMostBins + 1) / 2}; //!< a warp has lanes for two rows of the most bins, or more of fewer
static_assert(2 * kMostBins <= kWarp);

//! An axis of a box by weights: its bins' bands one after the other.
struct Weights
{
    RoiBand bands[kMostBins];
    int32_t offsets[kMostBins]; //!< of each band in `cells`
    int32_t total;              //!< cells of all bands
    float cells[kMostCells];
};

struct RoiShape
{
    int64_t channels;
    int32_t bins;
    int32_t perSample; //!< boxes
};

//! Every thread of a block. \return whether the axis fits the arrays; then all of them are set.
__device__ bool setWeights(RoiAxis const& axis, int32_t bins, int32_t bin, Weights& weights)
{
    bool const hasBin = bin >= 0 && bin < bins;
    if (bins > kMostBins)
    {
        return false;
    }
    if (hasBin)
    {
        weights.bands[bin] = axis.band(bin);
    }
    __syncthreads();
    int32_t offset = 0;
    int32_t total = 0;
    for (int32_t i = 0; i < bins; ++i)
    {
        offset += i < bin ? weights.bands[i].count : 0;
        total += weights.bands[i].count;
    }
    if (total > kMostCells)
    {
        return false;
    }
    if (hasBin)
    {
        weights.offsets[bin] = offset;
        axis.weigh(bin, weights.bands[bin], weights.cells + offset);
    }
    return true;
}

//! A warp pools one channel of a box. Lanes are columns while rows are summed into the rows of the bins; then they are
//! bins, a few rows of them at a time.
template <Element kElement>
__device__ void poolByWeights(typename Cell<kElement>::Type const* __restrict__ plane, int32_t width, int32_t bins,
    Weights const& rows, Weights const& columns, int32_t firstColumn, int32_t endColumn, float* sums,
    typename Cell<kElement>::Type* __restrict__ output)
{
    auto const lane = static_cast<int32_t>(threadIdx.x) % kWarp;
    int32_t const rowsPerRound = kWarp / bins;
    int32_t const column = lane % bins;
    int32_t const row = lane / bins;
    RoiBand const band = columns.bands[column];
    float const* const weights = columns.cells + columns.offsets[column];
    float pooled[kMostRounds]{};
    for (int32_t chunk = firstColumn; chunk < endColumn; chunk += kWarp)
    {
        bool const isInside = chunk + lane < endColumn;
        for (int32_t i = 0; i < bins; ++i)
        {
            RoiBand const over = rows.bands[i];
            float const* const rowWeights = rows.cells + rows.offsets[i];
            auto const* const cells = plane + int64_t{over.first} * width + chunk + lane;
            float sum = 0.0F;
#pragma unroll 4
            for (int32_t j = 0; j < over.count; ++j)
            {
                sum += isInside ? rowWeights[j] * toFloat<kElement>(cells[int64_t{j} * width]) : 0.0F;
            }
            sums[i * kPitch + lane] = sum;
        }
        __syncwarp();
        int32_t const begin = band.first > chunk ? band.first : chunk;
        int32_t const bandEnd = band.first + band.count;
        int32_t const end = bandEnd < chunk + kWarp ? bandEnd : chunk + kWarp;
        for (int32_t j = begin; j < end; ++j)
        {
            float const weight = weights[j - band.first];
#pragma unroll
            for (int32_t round = 0; round < kMostRounds; ++round)
            {
                int32_t const at = row + round * rowsPerRound;
                pooled[round] += at < bins ? weight * sums[at * kPitch + j - chunk] : 0.0F;
            }
        }
        __syncwarp();
    }
#pragma unroll
    for (int32_t round = 0; round < kMostRounds; ++round)
    {
        int32_t const at = row + round * rowsPerRound;
        if (row < rowsPerRound && at < bins)
        {
            output[at * bins + column] = fromFloat<kElement>(pooled[round]);
        }
    }
}

//! One bin of one channel, sample by sample: for boxes and outputs too large for the arrays above.
template <Element kElement>
__device__ float poolBySamples(typename Cell<kElement>::Type const* __restrict__ plane, int32_t width,
    RoiAxis const& rows, RoiAxis const& columns, int32_t row, int32_t column)
{
    int32_t rowBegin = 0;
    int32_t rowEnd = 0;
    int32_t columnBegin = 0;
    int32_t columnEnd = 0;
    rows.range(row, rowBegin, rowEnd);
    columns.range(column, columnBegin, columnEnd);
    float sum = 0.0F;
    for (int32_t i = rowBegin; i < rowEnd; ++i)
    {
        RoiSample const y = rows.sample(row, i);
        auto const* const low = plane + int64_t{y.low} * width;
        auto const* const high = plane + int64_t{y.high} * width;
        float inRow = 0.0F;
        for (int32_t j = columnBegin; j < columnEnd; ++j)
        {
            RoiSample const x = columns.sample(column, j);
            float const above =
                (1.0F - x.fraction) * toFloat<kElement>(low[x.low]) + x.fraction * toFloat<kElement>(low[x.high]);
            float const below =
                (1.0F - x.fraction) * toFloat<kElement>(high[x.low]) + x.fraction * toFloat<kElement>(high[x.high]);
            inRow += (1.0F - y.fraction) * above + y.fraction * below;
        }
        sum += inRow / static_cast<float>(columns.samples());
    }
    return rowBegin < rowEnd ? sum / static_cast<float>(rows.samples()) : 0.0F;
}

//! A block per box and some of its channels.
template <Element kElement>
__global__ void __launch_bounds__(kThreads, 4) multiLevelRoiAlign(RoiMap map0, RoiMap map1, RoiMap map2, RoiMap map3,
    RoiShape shape, float finestScale, float const* __restrict__ boxes, typename Cell<kElement>::Type* output)
{
    using Type = typename Cell<kElement>::Type;
    __shared__ Weights rowWeights;
    __shared__ Weights columnWeights;
    __shared__ float sums[kWarps][kMostBins * kPitch];
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int64_t const box = blockIdx.x;
    float const* const corners = boxes + box * 4;
    float const boxWidth = rn::subtract(corners[2], corners[0]);
    float const boxHeight = rn::subtract(corners[3], corners[1]);
    int32_t const level = roiLevel(boxWidth, boxHeight, finestScale);
    RoiMap const map = level == 0 ? map0 : level == 1 ? map1 : level == 2 ? map2 : map3;
    RoiAxis const rows{corners[1], corners[3], map.stride, shape.bins, map.height};
    RoiAxis const columns{corners[0], corners[2], map.stride, shape.bins, map.width};
    int64_t const plane = int64_t{map.height} * map.width;
    int32_t const area = shape.bins * shape.bins;
    int64_t const sample = box / shape.perSample;
    auto const* const cells = static_cast<Type const*>(map.cells) + sample * shape.channels * plane;
    Type* const pooled = output + box * shape.channels * area;
    int64_t const first = int64_t{blockIdx.y} * kChannelsPerBlock;
    int64_t const end = first + kChannelsPerBlock < shape.channels ? first + kChannelsPerBlock : shape.channels;
    if (rows.samples() == 0 || columns.samples() == 0)
    {
        for (int64_t i = first * area + thread; i < end * area; i += kThreads)
        {
            pooled[i] = fromFloat<kElement>(0.0F);
        }
        return;
    }
    // Two warps, one for each axis; every thread learns whether both fit.
    bool const rowsFit = setWeights(rows, shape.bins, thread, rowWeights);
    bool const columnsFit = setWeights(columns, shape.bins, thread - kWarp, columnWeights);
    if (!rowsFit || !columnsFit)
    {
        for (int64_t i = first * area + thread; i < end * area; i += kThreads)
        {
            auto const bin = static_cast<int32_t>(i % area);
            pooled[i] = fromFloat<kElement>(poolBySamples<kElement>(
                cells + i / area * plane, map.width, rows, columns, bin / shape.bins, bin % shape.bins));
        }
        return;
    }
    __syncthreads();
    // The columns that any bin reads; bins that lie beside the map have none.
    int32_t firstColumn = map.width;
    int32_t endColumn = 0;
    for (int32_t i = 0; i < shape.bins; ++i)
    {
        RoiBand const band = columnWeights.bands[i];
        if (band.count > 0)
        {
            firstColumn = band.first < firstColumn ? band.first : firstColumn;
            endColumn = band.first + band.count > endColumn ? band.first + band.count : endColumn;
        }
    }
    int32_t const warp = thread / kWarp;
    for (int64_t channel = first + warp; channel < end; channel += kWarps)
    {
        poolByWeights<kElement>(cells + channel * plane, map.width, shape.bins, rowWeights, columnWeights, firstColumn,
            endColumn, sums[warp], pooled + channel * area);
    }
}

template <Element kElement>
cudaError_t launchElement(MultiLevelRoiAlignParams const& p, cudaStream_t stream)
{
    using Type = typename Cell<kElement>::Type;
    RoiShape const shape{p.channels, p.outputSize, static_cast<int32_t>(p.count)};
    dim3 const blocks{static_cast<unsigned int>(p.batch * p.count),
        static_cast<unsigned int>((p.channels - 1) / kChannelsPerBlock + 1)};
    return launch(multiLevelRoiAlign<kElement>, blocks, kThreads, stream, p.maps[0], p.maps[1], p.maps[2], p.maps[3],
        shape, p.finestScale, p.boxes, static_cast<Type*>(p.output));
}

bool isUsable(MultiLevelRoiAlignParams const& p)
{
    for (RoiMap const& map : p.maps)
    {
        if (map.height < 1 || map.width < 1 || !(map.stride > 0.0F))
        {
            return false;
        }
    }
    int64_t const limit = (int64_t{1} << 31) - 1;
    return p.batch >= 0 && p.count >= 0 && p.count <= limit && (p.count == 0 || p.batch <= limit / p.count)
        && p.channels >= 1 && p.channels <= int64_t{65535} * kChannelsPerBlock && p.outputSize >= 1
        && p.outputSize <= 1024 && p.finestScale > 0.0F;
}

} // namespace

cudaError_t launchMultiLevelRoiAlign(MultiLevelRoiAlignParams const& p, cudaStream_t stream) noexcept
{
    if (!isUsable(p))
    {
        return cudaErrorInvalidValue;
    }
    if (p.batch == 0 || p.count == 0)
    {
        return cudaSuccess;
    }
    switch (p.element)
    {
    case Element::kFloat: return launchElement<Element::kFloat>(p, stream);
    case Element::kHalf: return launchElement<Element::kHalf>(p, stream);
    case Element::kBfloat16: return launchElement<Element::kBfloat16>(p, stream);
    }
    return cudaErrorInvalidValue;
}

} // namespace sparsevit
