#include "kernels/c_abi.h"

#include "kernels/add_norm/kernel.h"
#include "kernels/bias_gelu/kernel.h"
#include "kernels/feature_map_norm/kernel.h"
#include "kernels/label_decode/kernel.h"
#include "kernels/multi_level_roi_align/kernel.h"
#include "kernels/nms_keep/kernel.h"
#include "kernels/patch_embed/kernel.h"
#include "kernels/patch_merge_norm/kernel.h"
#include "kernels/window_attention/kernel.h"
#include "kernels/window_gather/kernel.h"
#include "kernels/window_gather_norm/kernel.h"
#include "kernels/window_rank/kernel.h"
#include "kernels/window_scatter/kernel.h"
#include "kernels/window_scatter_add/kernel.h"
#include "kernels/window_score/kernel.h"

#include <limits>

namespace
{

template <typename Call>
bool isUsable(Call const& call)
{
    int64_t const limit = std::numeric_limits<int32_t>::max();
    return call.height >= 1 && call.width >= 1 && call.window_size >= 1 && call.height <= limit / call.window_size
        && call.width <= limit / call.window_size && call.shift >= 0 && call.shift < call.window_size
        && call.element >= 0 && call.element <= 2 && call.batch >= 0 && call.count >= 0;
}

template <typename Call>
sparsevit::WindowGrid gridOf(Call const& call)
{
    return {static_cast<int32_t>(call.height), static_cast<int32_t>(call.width), call.window_size, call.shift};
}

//! Whether rows of the map can be counted.
bool isMap(SparsevitNormCall const& call)
{
    int64_t const limit = std::numeric_limits<int32_t>::max();
    return call.batch >= 0 && call.height >= 1 && call.width >= 1 && call.height <= limit
        && call.width <= limit / call.height && call.batch <= limit && call.element >= 0 && call.element <= 2;
}

int32_t bytesOf(SparsevitCall const& call)
{
    return call.element == 0 ? 4 : 2;
}

} // namespace

int32_t sparsevit_window_score(SparsevitCall const* call)
{
    if (!isUsable(*call))
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::WindowScoreParams params{};
    params.grid = gridOf(*call);
    params.batch = call->batch;
    params.channels = call->channels;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.x = call->x;
    params.scores = static_cast<float*>(call->output);
    return sparsevit::launchWindowScore(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_window_gather(SparsevitCall const* call)
{
    if (!isUsable(*call))
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::WindowGatherParams params{};
    params.grid = gridOf(*call);
    params.batch = call->batch;
    params.count = call->count;
    params.channels = call->channels;
    params.elementBytes = bytesOf(*call);
    params.indexBytes = call->index_bytes;
    params.x = call->x;
    params.index = call->index;
    params.windows = call->output;
    return sparsevit::launchWindowGather(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_window_scatter(SparsevitCall const* call)
{
    if (!isUsable(*call))
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::WindowScatterParams params{};
    params.grid = gridOf(*call);
    params.batch = call->batch;
    params.count = call->count;
    params.channels = call->channels;
    params.elementBytes = bytesOf(*call);
    params.indexBytes = call->index_bytes;
    params.x = call->x;
    params.windows = call->windows;
    params.index = call->index;
    params.y = call->output;
    return sparsevit::launchWindowScatter(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_nms_keep(SparsevitNmsCall const* call)
{
    sparsevit::NmsKeepParams params{};
    params.groups = call->groups;
    params.count = call->count;
    params.iou = call->iou;
    params.scoreThreshold = call->score_threshold;
    params.limit = call->limit;
    params.boxes = call->boxes;
    params.scores = call->scores;
    params.keep = call->keep;
    params.workspace = call->workspace;
    return sparsevit::launchNmsKeep(params, static_cast<cudaStream_t>(call->stream));
}

int64_t sparsevit_nms_keep_workspace(int64_t groups, int64_t count)
{
    return static_cast<int64_t>(sparsevit::nmsKeepWorkspace(groups, count));
}

int32_t sparsevit_multi_level_roi_align(SparsevitRoiCall const* call)
{
    if (call->element < 0 || call->element > 2)
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::MultiLevelRoiAlignParams params{};
    for (int32_t i = 0; i < sparsevit::kRoiLevels; ++i)
    {
        params.maps[i] = {call->maps[i], call->heights[i], call->widths[i], call->strides[i]};
    }
    params.batch = call->batch;
    params.count = call->count;
    params.channels = call->channels;
    params.outputSize = call->output_size;
    params.finestScale = call->finest_scale;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.boxes = call->boxes;
    params.output = call->output;
    return sparsevit::launchMultiLevelRoiAlign(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_window_attention(SparsevitAttentionCall const* call)
{
    if (call->element < 0 || call->element > 2)
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::WindowAttentionParams params{};
    params.batch = call->batch;
    params.count = call->count;
    params.channels = call->channels;
    params.heads = call->heads;
    params.windowSize = call->window_size;
    params.windows = call->windows;
    params.kinds = call->kinds;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.indexBytes = call->index_bytes;
    params.qkv = call->qkv;
    params.qkvBias = call->qkv_bias;
    params.index = call->index;
    params.kind = call->kind;
    params.positionBias = call->position_bias;
    params.output = call->output;
    return sparsevit::launchWindowAttention(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_window_gather_norm(SparsevitFusedCall const* call)
{
    if (!isUsable(*call))
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::WindowGatherNormParams params{};
    params.grid = gridOf(*call);
    params.batch = call->batch;
    params.count = call->count;
    params.channels = call->channels;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.indexBytes = call->index_bytes;
    params.epsilon = call->epsilon;
    params.x = call->x;
    params.index = call->index;
    params.scale = call->scale;
    params.bias = call->bias;
    params.tokens = call->tokens;
    params.normed = call->output;
    return sparsevit::launchWindowGatherNorm(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_bias_gelu(SparsevitBiasGeluCall const* call)
{
    if (call->element < 0 || call->element > 2)
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::BiasGeluParams params{};
    params.rows = call->rows;
    params.channels = call->channels;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.bias = call->bias;
    params.y = call->y;
    return sparsevit::launchBiasGelu(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_window_scatter_add(SparsevitFusedCall const* call)
{
    if (!isUsable(*call))
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::WindowScatterAddParams params{};
    params.grid = gridOf(*call);
    params.batch = call->batch;
    params.count = call->count;
    params.channels = call->channels;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.indexBytes = call->index_bytes;
    params.x = call->x;
    params.tokens = call->tokens;
    params.update = call->update;
    params.bias = call->bias;
    params.index = call->index;
    params.y = call->output;
    return sparsevit::launchWindowScatterAdd(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_window_rank(SparsevitFusedCall const* call)
{
    if (!isUsable(*call))
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::WindowRankParams params{};
    params.grid = gridOf(*call);
    params.batch = call->batch;
    params.channels = call->channels;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.x = call->x;
    params.order = static_cast<int32_t*>(call->output);
    params.workspace = call->workspace;
    return sparsevit::launchWindowRank(params, static_cast<cudaStream_t>(call->stream));
}

int64_t sparsevit_window_rank_workspace(SparsevitFusedCall const* call)
{
    return isUsable(*call) ? static_cast<int64_t>(sparsevit::windowRankWorkspace(gridOf(*call), call->batch)) : 0;
}

int32_t sparsevit_patch_embed(SparsevitPatchEmbedCall const* call)
{
    if (call->element < 0 || call->element > 2)
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::PatchEmbedParams params{};
    params.batch = call->batch;
    params.height = call->height;
    params.width = call->width;
    params.padMultiple = call->pad_multiple;
    params.channels = call->channels;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.epsilon = call->epsilon;
    params.image = call->image;
    params.weight = call->weight;
    params.bias = call->bias;
    params.mean = call->mean;
    params.scale = call->scale;
    params.shift = call->shift;
    params.tokens = call->output;
    return sparsevit::launchPatchEmbed(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_label_decode(SparsevitLabelDecodeCall const* call)
{
    if (call->element < 0 || call->element > 2)
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::LabelDecodeParams params{};
    params.batch = call->batch;
    params.classes = call->classes;
    params.rows = call->rows;
    params.columns = call->columns;
    params.scale = call->scale;
    params.height = call->height;
    params.width = call->width;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.logits = call->logits;
    params.labels = call->output;
    return sparsevit::launchLabelDecode(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_add_norm(SparsevitNormCall const* call)
{
    if (!isMap(*call))
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::AddNormParams params{};
    params.rows = call->batch * call->height * call->width;
    params.channels = call->channels;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.epsilon = call->epsilon;
    params.x = call->x;
    params.update = call->update;
    params.bias = call->bias;
    params.scale = call->scale;
    params.shift = call->shift;
    params.sum = call->sum;
    params.normed = call->output;
    return sparsevit::launchAddNorm(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_feature_map_norm(SparsevitNormCall const* call)
{
    if (!isMap(*call) || call->output_element < 0 || call->output_element > 2)
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::FeatureMapNormParams params{};
    params.batch = call->batch;
    params.tokens = call->height * call->width;
    params.channels = call->channels;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.output = static_cast<sparsevit::Element>(call->output_element);
    params.epsilon = call->epsilon;
    params.x = call->x;
    params.scale = call->scale;
    params.shift = call->shift;
    params.y = call->output;
    return sparsevit::launchFeatureMapNorm(params, static_cast<cudaStream_t>(call->stream));
}

int32_t sparsevit_patch_merge_norm(SparsevitNormCall const* call)
{
    if (!isMap(*call))
    {
        return cudaErrorInvalidValue;
    }
    sparsevit::PatchMergeNormParams params{};
    params.batch = call->batch;
    params.height = call->height;
    params.width = call->width;
    params.channels = call->channels;
    params.element = static_cast<sparsevit::Element>(call->element);
    params.epsilon = call->epsilon;
    params.x = call->x;
    params.scale = call->scale;
    params.shift = call->shift;
    params.normed = call->output;
    return sparsevit::launchPatchMergeNorm(params, static_cast<cudaStream_t>(call->stream));
}

char const* sparsevit_error_text(int32_t error)
{
    return cudaGetErrorString(static_cast<cudaError_t>(error));
}
