// What TensorRT asks the library for when it loads it; exports.map lets these symbols and the letterbox out, no other.
#include "tensorrt/log.h"
#include "tensorrt/multi_level_roi_align/plugin.h"
#include "tensorrt/nms_keep/plugin.h"
#include "tensorrt/window_attention/plugin.h"
#include "tensorrt/window_gather/plugin.h"
#include "tensorrt/window_gather_norm/plugin.h"
#include "tensorrt/window_rank/plugin.h"
#include "tensorrt/window_scatter/plugin.h"
#include "tensorrt/window_scatter_add/plugin.h"
#include "tensorrt/window_score/plugin.h"

#include <NvInferRuntime.h>

#include <cuda_runtime_api.h>

// What the library was built for, to be found in the file without loading it: TensorRT's interfaces to its log differ
// between major versions.
#define SPARSEVIT_TEXT(value) #value
#define SPARSEVIT_NUMBER(value) SPARSEVIT_TEXT(value)
extern "C" char const sparsevitBuild[]; // kept by the linker on demand (CMakeLists.txt), visible to nobody
char const sparsevitBuild[] = "sparsevit-plugins tensorrt=" SPARSEVIT_NUMBER(NV_TENSORRT_MAJOR) "." SPARSEVIT_NUMBER(
    NV_TENSORRT_MINOR) " cudart=" SPARSEVIT_NUMBER(CUDART_VERSION) " architectures=" SPARSEVIT_ARCHITECTURES;

#define SPARSEVIT_EXPORT extern "C" __attribute__((visibility("default")))

//! TensorRT 10.3 and later.
SPARSEVIT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& nbCreators)
{
    static sparsevit::NodePluginCreator<sparsevit::WindowScorePlugin> score;
    static sparsevit::NodePluginCreator<sparsevit::WindowGatherPlugin> gather;
    static sparsevit::NodePluginCreator<sparsevit::WindowScatterPlugin> scatter;
    static sparsevit::NodePluginCreator<sparsevit::NmsKeepPlugin> nms;
    static sparsevit::NodePluginCreator<sparsevit::MultiLevelRoiAlignPlugin> roiAlign;
    static sparsevit::NodePluginCreator<sparsevit::WindowRankPlugin> rank;
    static sparsevit::NodePluginCreator<sparsevit::WindowGatherNormPlugin> gatherNorm;
    static sparsevit::NodePluginCreator<sparsevit::WindowAttentionPlugin> attention;
    static sparsevit::NodePluginCreator<sparsevit::WindowScatterAddPlugin> scatterAdd;
    static nvinfer1::IPluginCreatorInterface* const creators[]{
        &score, &gather, &scatter, &nms, &roiAlign, &rank, &gatherNorm, &attention, &scatterAdd};
    nbCreators = static_cast<int32_t>(sizeof(creators) / sizeof(creators[0]));
    return creators;
}

//! TensorRT 10.0 to 10.2 look for this name.
SPARSEVIT_EXPORT nvinfer1::IPluginCreatorInterface* const* getPluginCreators(int32_t& nbCreators)
{
    return getCreators(nbCreators);
}

SPARSEVIT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder)
{
    sparsevit::useLoggerFinder(finder);
}
