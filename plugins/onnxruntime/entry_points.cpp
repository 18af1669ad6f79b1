// What ONNX Runtime calls when it loads the library; exports.map lets this symbol and the letterbox out, no other.
#include "onnxruntime/nodes/add_norm.h"
#include "onnxruntime/nodes/feature_map_norm.h"
#include "onnxruntime/nodes/keep_count.h"
#include "onnxruntime/nodes/label_decode.h"
#include "onnxruntime/nodes/linear_gelu.h"
#include "onnxruntime/nodes/multi_level_roi_align.h"
#include "onnxruntime/nodes/nms_keep.h"
#include "onnxruntime/nodes/patch_embed.h"
#include "onnxruntime/nodes/patch_merge_norm.h"
#include "onnxruntime/nodes/window_attention.h"
#include "onnxruntime/nodes/window_gather.h"
#include "onnxruntime/nodes/window_gather_norm.h"
#include "onnxruntime/nodes/window_rank.h"
#include "onnxruntime/nodes/window_scatter.h"
#include "onnxruntime/nodes/window_scatter_add.h"
#include "onnxruntime/nodes/window_score.h"

#include <mutex>

// What the library was built for and which nodes it has, to be found in the file without loading it.
#ifdef SPARSEVIT_ORT_ON_CPU
#define SPARSEVIT_BUILT_FOR "cpu"
#else
#define SPARSEVIT_TEXT(value) #value
#define SPARSEVIT_NUMBER(value) SPARSEVIT_TEXT(value)
#define SPARSEVIT_BUILT_FOR "cudart=" SPARSEVIT_NUMBER(CUDART_VERSION) " architectures=" SPARSEVIT_ARCHITECTURES
#endif
extern "C" char const sparsevitOrtBuild[]; // kept by the linker on demand (CMakeLists.txt), visible to nobody
char const sparsevitOrtBuild[] = "sparsevit-ort api=18 " SPARSEVIT_BUILT_FOR
                                 " nodes=WindowScore,WindowGather,WindowScatter,NmsKeep,MultiLevelRoiAlign,"
                                 "WindowRank,WindowGatherNorm,WindowAttention,WindowScatterAdd,"
                                 "PatchEmbed,LabelDecode,KeepCount,LinearGelu,"
                                 "AddNorm,PatchMergeNorm,FeatureMapNorm,FeatureMapNorm32;";

namespace sparsevit
{
namespace ort
{
namespace
{

static_assert(kVersion == 18, "sparsevitOrtBuild says another version");

constexpr DataType kElements[]{DataType::kFloat, DataType::kFloat16, DataType::kBfloat16};
constexpr DataType kIndices[]{DataType::kInt64, DataType::kInt32};

template <typename Node>
constexpr bool has(Kind kind)
{
    for (Kind const each : Node::kInputs)
    {
        if (each == kind)
        {
            return true;
        }
    }
    return false;
}

//! Adds a node, once for each pair of types that it can have.
template <typename Node>
Status* add(Api const& api, Domain* domain)
{
    using Op = CustomOp<Node>;
    static Op const ops[]{
        {kElements[0], kIndices[0]},
        {kElements[0], kIndices[1]},
        {kElements[1], kIndices[0]},
        {kElements[1], kIndices[1]},
        {kElements[2], kIndices[0]},
        {kElements[2], kIndices[1]},
    };
    for (size_t i = 0; i < sizeof(ops) / sizeof(Op); ++i)
    {
        bool const isTwin = (!has<Node>(Kind::kElement) && i >= 2) || (!has<Node>(Kind::kIndex) && i % 2 == 1);
        if (isTwin)
        {
            continue;
        }
        Status* const added = api.call<kCustomOpDomain_Add>(domain, static_cast<CustomOpTable const*>(&ops[i]));
        if (added != nullptr)
        {
            return added;
        }
    }
    return nullptr;
}

template <typename... Nodes>
Status* addAll(Api const& api, Domain* domain)
{
    Status* status = nullptr;
    ((status = status == nullptr ? add<Nodes>(api, domain) : status), ...);
    return status;
}

//! The domain `sparsevit`, made once in a process: sessions that use it have no end that the library is told of.
Status* findDomain(Api const& api, Domain** found)
{
    static std::mutex mutex;
    static Domain* domain{nullptr};
    std::lock_guard<std::mutex> const lock{mutex};
    if (domain == nullptr)
    {
        Domain* made = nullptr;
        Status* status = api.call<kCreateCustomOpDomain>("sparsevit", &made);
        if (status == nullptr)
        {
            status = addAll<WindowScore, WindowGather, WindowScatter, NmsKeep, MultiLevelRoiAlign, WindowRank,
                WindowGatherNorm, WindowAttention, WindowScatterAdd, PatchEmbed, LabelDecode, KeepCount, LinearGelu,
                AddNorm, PatchMergeNorm, FeatureMapNorm, FeatureMapNorm32>(api, made);
        }
        if (status != nullptr)
        {
            return status;
        }
        domain = made;
    }
    *found = domain;
    return nullptr;
}

} // namespace
} // namespace ort
} // namespace sparsevit

//! Adds the nodes to a session that is about to be made. \return null, or a status with what is in the way.
extern "C" __attribute__((visibility("default"))) sparsevit::ort::Status* RegisterCustomOps(
    sparsevit::ort::SessionOptions* options, sparsevit::ort::ApiBase const* base)
{
    using namespace sparsevit::ort;
    void const* const oldest = base->table(1);
    if (oldest == nullptr)
    {
        return nullptr; // no ONNX Runtime that could be told; without ops, its sessions run the portable bodies
    }
    void const* const table = base->table(kVersion);
    if (table == nullptr)
    {
        Text text;
        text << "libsparsevit_ort needs ONNX Runtime 1." << int64_t{kVersion} << " or newer, this is "
             << base->version() << "; without it the model file's portable bodies run";
        return Api{oldest}.error(ErrorCode::kNotImplemented, text.bytes());
    }
    Api const api{table};
    if (char const* const reason = missingDevice())
    {
        Text text;
        text << "libsparsevit_ort runs on CUDA: " << reason << "; without it the model file's portable bodies run";
        return api.error(ErrorCode::kFail, text.bytes());
    }
    ShapeInference::useApi(table);
    Domain* domain = nullptr;
    Status* const status = findDomain(api, &domain);
    return status != nullptr ? status : api.call<kAddCustomOpDomain>(options, domain);
}
