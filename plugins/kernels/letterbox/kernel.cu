#include "kernels/launch.cuh"
#include "kernels/letterbox/letterbox.h"
#include "kernels/letterbox/sampling.h"

namespace sparsevit
{
namespace
{

constexpr int32_t kThreads{256};
constexpr int32_t kPerThread{4}; //!< pixels side by side: 12 bytes, three whole words
constexpr int32_t kTileColumns{128};
constexpr int32_t kTileRows{kThreads * kPerThread / kTileColumns};

//! Where the scaled frame lies in the input, and the input.
struct Canvas
{
    uint8_t* bytes;
    int32_t width;
    int32_t height;
    int32_t left;
    int32_t top;
    int32_t scaledWidth;
    int32_t scaledHeight;
    uint8_t pad;
    bool words; //!< every four pixels start at a whole word
};

//! One block per tile. What depends on the column or the row alone is computed once per tile: it takes double precision.
template <typename Sampler>
__global__ void __launch_bounds__(kThreads) letterbox(Sampler sampler, Canvas canvas)
{
    __shared__ typename Sampler::Tap columns[kTileColumns];
    __shared__ typename Sampler::Tap rows[kTileRows];
    auto const thread = static_cast<int32_t>(threadIdx.x);
    int32_t const tileColumn = static_cast<int32_t>(blockIdx.x) * kTileColumns;
    int32_t const tileRow = static_cast<int32_t>(blockIdx.y) * kTileRows;
    if (thread < kTileColumns)
    {
        columns[thread] = sampler.column(tileColumn + thread - canvas.left);
    }
    else if (thread < kTileColumns + kTileRows)
    {
        rows[thread - kTileColumns] = sampler.row(tileRow + thread - kTileColumns - canvas.top);
    }
    __syncthreads();
    int32_t const inTileColumn = thread % (kTileColumns / kPerThread) * kPerThread;
    int32_t const inTileRow = thread / (kTileColumns / kPerThread);
    int32_t const column = tileColumn + inTileColumn;
    int32_t const row = tileRow + inTileRow;
    if (row >= canvas.height || column >= canvas.width)
    {
        return;
    }
    bool const rowOnFrame = row >= canvas.top && row < canvas.top + canvas.scaledHeight;
    uint8_t pixels[kPerThread * kChannels];
#pragma unroll
    for (int32_t i = 0; i < kPerThread; ++i)
    {
        bool const onFrame =
            rowOnFrame && column + i >= canvas.left && column + i < canvas.left + canvas.scaledWidth;
#pragma unroll
        for (int32_t channel = 0; channel < kChannels; ++channel)
        {
            pixels[i * kChannels + channel] =
                onFrame ? sampler.at(columns[inTileColumn + i], rows[inTileRow], channel) : canvas.pad;
        }
    }
    uint8_t* const out = canvas.bytes + (int64_t{row} * canvas.width + column) * kChannels;
    if (canvas.words)
    {
        auto* const words = reinterpret_cast<uint32_t*>(out);
#pragma unroll
        for (int32_t i = 0; i < kChannels; ++i)
        {
            words[i] = uint32_t{pixels[4 * i]} | uint32_t{pixels[4 * i + 1]} << 8 | uint32_t{pixels[4 * i + 2]} << 16
                | uint32_t{pixels[4 * i + 3]} << 24;
        }
        return;
    }
#pragma unroll
    for (int32_t i = 0; i < kPerThread * kChannels; ++i)
    {
        if (column + i / kChannels < canvas.width)
        {
            out[i] = pixels[i];
        }
    }
}

template <typename Sampler>
cudaError_t launchLetterbox(Sampler const& sampler, Canvas const& canvas, cudaStream_t stream)
{
    dim3 const blocks{static_cast<unsigned int>((canvas.width - 1) / kTileColumns + 1),
        static_cast<unsigned int>((canvas.height - 1) / kTileRows + 1)};
    return launch(letterbox<Sampler>, blocks, kThreads, stream, sampler, canvas);
}

//! The usual numbers of halvings are known to the compiler: the general way is slower.
template <template <int32_t> typename Sampler, int32_t kMost>
cudaError_t launchHalved(Frame const& frame, Axis columns, Axis rows, Canvas const& canvas, cudaStream_t stream)
{
    if (frame.halvings == kMost)
    {
        return launchLetterbox(Sampler<kMost>{frame, columns, rows}, canvas, stream);
    }
    if constexpr (kMost > 0)
    {
        return launchHalved<Sampler, kMost - 1>(frame, columns, rows, canvas, stream);
    }
    return launchLetterbox(Sampler<kAnyHalvings>{frame, columns, rows}, canvas, stream);
}

bool isUsable(SparsevitLetterbox const& p)
{
    return p.frame != nullptr && p.input != nullptr && p.sample >= 0 && p.frame_width >= 1 && p.frame_height >= 1
        && p.frame_pitch >= int64_t{kChannels} * p.frame_width && p.width >= 1 && p.height >= 1 && p.left >= 0
        && p.top >= 0 && p.left <= p.input_width - p.width && p.top <= p.input_height - p.height && p.pad_value >= 0
        && p.pad_value <= 255;
}

Canvas canvasOf(SparsevitLetterbox const& p)
{
    int64_t const sampleBytes = int64_t{p.input_height} * p.input_width * kChannels;
    auto* const bytes = static_cast<uint8_t*>(p.input) + p.sample * sampleBytes;
    bool const words = (reinterpret_cast<uintptr_t>(bytes) | static_cast<uintptr_t>(p.input_width)) % 4 == 0;
    return {bytes, p.input_width, p.input_height, p.left, p.top, p.width, p.height, static_cast<uint8_t>(p.pad_value),
        words};
}

} // namespace
} // namespace sparsevit

extern "C" int32_t sparsevit_letterbox(SparsevitLetterbox const* letterbox, cudaStream_t stream)
{
    using namespace sparsevit;
    if (letterbox == nullptr || !isUsable(*letterbox))
    {
        return cudaErrorInvalidValue;
    }
    SparsevitLetterbox const& p = *letterbox;
    Canvas const canvas = canvasOf(p);

    Frame frame{static_cast<uint8_t const*>(p.frame), p.frame_pitch, 0};
    int32_t width = p.frame_width;
    int32_t height = p.frame_height;
    while (width / 2 >= p.width && height / 2 >= p.height && width % 2 == 0 && height % 2 == 0
        && frame.halvings < Frame::kMostHalvings)
    {
        width /= 2;
        height /= 2;
        ++frame.halvings;
    }
    Axis const columns{width, p.width};
    Axis const rows{height, p.height};
    if (width / 2.0 <= p.width && height / 2.0 <= p.height)
    {
        return launchHalved<LinearSampler, 2>(frame, columns, rows, canvas, stream);
    }
    if (columns.wholeScale() != 0 && rows.wholeScale() != 0)
    {
        return launchHalved<MeanSampler, 0>(frame, columns, rows, canvas, stream);
    }
    return launchHalved<AreaSampler, 0>(frame, columns, rows, canvas, stream);
}

extern "C" int32_t sparsevit_stretch(SparsevitLetterbox const* stretch, cudaStream_t stream)
{
    using namespace sparsevit;
    if (stretch == nullptr || !isUsable(*stretch) || stretch->width != stretch->input_width
        || stretch->height != stretch->input_height)
    {
        return cudaErrorInvalidValue;
    }
    SparsevitLetterbox const& p = *stretch;
    // Where both sides are halved OpenCV takes means for its bilinear: they differ in rounding.
    int32_t const halvings = p.frame_width % 2 == 0 && p.frame_height % 2 == 0 && p.frame_width / 2 == p.width
            && p.frame_height / 2 == p.height
        ? 1
        : 0;
    Frame const frame{static_cast<uint8_t const*>(p.frame), p.frame_pitch, halvings};
    Axis const columns{p.frame_width >> halvings, p.width};
    Axis const rows{p.frame_height >> halvings, p.height};
    return launchHalved<LinearSampler, 1>(frame, columns, rows, canvasOf(p), stream);
}
