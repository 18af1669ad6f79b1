#include "kernels/label_decode/kernel.h"

#include "kernels/element_cast.cuh"

namespace sparsevit
{
namespace
{

constexpr uint32_t kThreads{256};

struct Cells
{
    uint32_t total; //!< threads' worth of work: cells, or labels
    Divisor byColumns;
    Divisor byRows;
    int32_t classes;
    int32_t rows;
    int32_t columns;
    int32_t scale;
    int32_t height;
    int32_t width;
};

//! Weight of the neighbour of a label's cell; negative: of the neighbour before, else of the one behind.
__device__ float towards(int32_t label, int32_t scale)
{
    return (static_cast<float>(label) + 0.5F) / static_cast<float>(scale) - 0.5F;
}

//! Between a value and its neighbours.
__device__ float between(float before, float value, float behind, float weight)
{
    return weight < 0.0F ? -weight * before + (1.0F + weight) * value : (1.0F - weight) * value + weight * behind;
}

//! A thread takes kScale x kScale labels, those of a cell. Where a map ends, its edge is repeated.
template <Element kElement, int32_t kScale>
__global__ void __launch_bounds__(kThreads)
    decodeCells(Cells cells, typename Cell<kElement>::Type const* __restrict__ logits, uint8_t* __restrict__ labels)
{
    uint32_t column = blockIdx.x * kThreads + threadIdx.x;
    if (column >= cells.total)
    {
        return;
    }
    uint32_t row = cells.byColumns.split(column);
    int64_t const sample = cells.byRows.split(row);
    auto const i = static_cast<int32_t>(row);
    auto const j = static_cast<int32_t>(column);
    constexpr int32_t kAround{kScale == 1 ? 1 : 3};
    int64_t offsets[kAround][kAround];
#pragma unroll
    for (int32_t y = 0; y < kAround; ++y)
    {
#pragma unroll
        for (int32_t x = 0; x < kAround; ++x)
        {
            int32_t const down = i + y - kAround / 2;
            int32_t const right = j + x - kAround / 2;
            int32_t const atRow = down < 0 ? 0 : down < cells.rows ? down : cells.rows - 1;
            int32_t const atColumn = right < 0 ? 0 : right < cells.columns ? right : cells.columns - 1;
            offsets[y][x] = int64_t{atRow} * cells.columns + atColumn;
        }
    }
    int64_t const plane = int64_t{cells.rows} * cells.columns;
    auto const* scores = logits + sample * cells.classes * plane;
    float highest[kScale][kScale];
    int32_t found[kScale][kScale]{};
#pragma unroll
    for (auto& line : highest)
    {
#pragma unroll
        for (float& value : line)
        {
            value = -INFINITY;
        }
    }
#pragma unroll 2
    for (int32_t label = 0; label < cells.classes; ++label, scores += plane)
    {
        float around[kAround][kAround];
#pragma unroll
        for (int32_t y = 0; y < kAround; ++y)
        {
#pragma unroll
            for (int32_t x = 0; x < kAround; ++x)
            {
                around[y][x] = toFloat<kElement>(scores[offsets[y][x]]);
            }
        }
#pragma unroll
        for (int32_t x = 0; x < kScale; ++x)
        {
            float down[kAround];
#pragma unroll
            for (int32_t y = 0; y < kAround; ++y)
            {
                down[y] = kAround == 1
                    ? around[y][0]
                    : between(around[y][0], around[y][kAround / 2], around[y][kAround - 1], towards(x, kScale));
            }
#pragma unroll
            for (int32_t y = 0; y < kScale; ++y)
            {
                float const score =
                    kAround == 1 ? down[0] : between(down[0], down[kAround / 2], down[kAround - 1], towards(y, kScale));
                bool const isHigher = score > highest[y][x];
                highest[y][x] = isHigher ? score : highest[y][x];
                found[y][x] = isHigher ? label : found[y][x];
            }
        }
    }
    bool const isWhole = (j + 1) * kScale <= cells.width;
#pragma unroll
    for (int32_t y = 0; y < kScale; ++y)
    {
        int32_t const down = i * kScale + y;
        if (down >= cells.height)
        {
            break;
        }
        uint8_t* const to = labels + (sample * cells.height + down) * cells.width + j * kScale;
        if (kScale == 4 && isWhole && reinterpret_cast<uintptr_t>(to) % 4 == 0)
        {
            uint32_t four = 0;
#pragma unroll
            for (int32_t x = 0; x < kScale; ++x)
            {
                four |= static_cast<uint32_t>(found[y][x]) << (8 * x);
            }
            *reinterpret_cast<uint32_t*>(to) = four;
        }
        else
        {
#pragma unroll
            for (int32_t x = 0; x < kScale; ++x)
            {
                if (j * kScale + x < cells.width)
                {
                    to[x] = static_cast<uint8_t>(found[y][x]);
                }
            }
        }
    }
}

//! A thread takes a label, at any scale.
template <Element kElement>
__global__ void __launch_bounds__(kThreads)
    decodePlain(Cells cells, typename Cell<kElement>::Type const* __restrict__ logits, uint8_t* __restrict__ labels)
{
    uint32_t const own = blockIdx.x * kThreads + threadIdx.x;
    if (own >= cells.total)
    {
        return;
    }
    uint32_t column = own;
    uint32_t row = cells.byColumns.split(column);
    int64_t const sample = cells.byRows.split(row);
    int32_t const i = static_cast<int32_t>(row) / cells.scale;
    int32_t const j = static_cast<int32_t>(column) / cells.scale;
    float const down = towards(static_cast<int32_t>(row) % cells.scale, cells.scale);
    float const right = towards(static_cast<int32_t>(column) % cells.scale, cells.scale);
    int32_t const otherRow = down < 0.0F ? (i > 0 ? i - 1 : 0) : (i + 1 < cells.rows ? i + 1 : i);
    int32_t const otherColumn = right < 0.0F ? (j > 0 ? j - 1 : 0) : (j + 1 < cells.columns ? j + 1 : j);
    float const weightDown = fabsf(down);
    float const weightRight = fabsf(right);
    int64_t const plane = int64_t{cells.rows} * cells.columns;
    auto const* scores = logits + sample * cells.classes * plane;
    float highest = -INFINITY;
    int32_t found = 0;
    for (int32_t label = 0; label < cells.classes; ++label, scores += plane)
    {
        auto const inRow = [&](int32_t at)
        {
            auto const* const line = scores + int64_t{at} * cells.columns;
            return (1.0F - weightRight) * toFloat<kElement>(line[j])
                + weightRight * toFloat<kElement>(line[otherColumn]);
        };
        float const score = (1.0F - weightDown) * inRow(i) + weightDown * inRow(otherRow);
        found = score > highest ? label : found;
        highest = score > highest ? score : highest;
    }
    labels[own] = static_cast<uint8_t>(found);
}

template <Element kElement>
cudaError_t launchAs(LabelDecodeParams const& p, Cells const& cells, cudaStream_t stream)
{
    using Type = typename Cell<kElement>::Type;
    auto const run = [&](auto kernel)
    {
        dim3 const blocks{(cells.total - 1) / kThreads + 1};
        return launch(kernel, blocks, kThreads, stream, cells, static_cast<Type const*>(p.logits), p.labels);
    };
    switch (p.scale)
    {
    case 1: return run(decodeCells<kElement, 1>);
    case 2: return run(decodeCells<kElement, 2>);
    case 4: return run(decodeCells<kElement, 4>);
    default: return run(decodePlain<kElement>);
    }
}

} // namespace

cudaError_t launchLabelDecode(LabelDecodeParams const& p, cudaStream_t stream) noexcept
{
    int64_t const limit = (int64_t{1} << 31) - int64_t{kThreads}; // the last block may count past the end
    if (p.batch < 0 || p.classes < 1 || p.classes > 256 || p.scale < 1 || p.rows < 1 || p.columns < 1
        || p.rows > limit / p.scale || p.columns > limit / p.scale || p.height < 1 || p.width < 1
        || p.height > p.rows * p.scale || p.width > p.columns * p.scale)
    {
        return cudaErrorInvalidValue;
    }
    bool const byCells = p.scale == 1 || p.scale == 2 || p.scale == 4;
    // Cells whose labels are all cropped are none of anybody's work.
    int64_t const rows = byCells ? (p.height - 1) / p.scale + 1 : p.height;
    int64_t const columns = byCells ? (p.width - 1) / p.scale + 1 : p.width;
    if (rows > limit / columns || p.batch > limit / (rows * columns))
    {
        return cudaErrorInvalidValue;
    }
    if (p.batch == 0)
    {
        return cudaSuccess;
    }
    Cells cells{};
    cells.total = static_cast<uint32_t>(p.batch * rows * columns);
    cells.byColumns = Divisor{static_cast<uint32_t>(columns)};
    cells.byRows = Divisor{static_cast<uint32_t>(rows)};
    cells.classes = static_cast<int32_t>(p.classes);
    cells.rows = static_cast<int32_t>(p.rows);
    cells.columns = static_cast<int32_t>(p.columns);
    cells.scale = p.scale;
    cells.height = static_cast<int32_t>(p.height);
    cells.width = static_cast<int32_t>(p.width);
    return withElement(p.element, [&](auto type) { return launchAs<decltype(type)::kValue>(p, cells, stream); });
}

} // namespace sparsevit
