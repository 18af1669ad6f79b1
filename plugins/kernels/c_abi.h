// The kernels with a C ABI, for whoever has no C++: tests and benchmarks run them without any host.
#pragma once

#include <stdint.h>

#define SPARSEVIT_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C"
{
#endif

//! One call of any of the three window kernels. Fields that a kernel does not name are ignored.
typedef struct SparsevitCall
{
    int64_t batch;       //!< B
    int64_t height;      //!< H, tokens
    int64_t width;       //!< W, tokens
    int64_t channels;    //!< C
    int64_t count;       //!< k, windows listed per sample
    int32_t window_size; //!< T = window_size * window_size
    int32_t shift;
    int32_t element;     //!< 0 float, 1 half, 2 bfloat16
    int32_t index_bytes; //!< 4 or 8
    void const* x;       //!< (B, H, W, C)
    void const* windows; //!< (B, k, T, C)
    void const* index;   //!< (B, k)
    void* output;
    void* stream; //!< cudaStream_t
} SparsevitCall;

//! One bias with GELU.
typedef struct SparsevitBiasGeluCall
{
    int64_t rows;
    int64_t channels;
    int32_t element;  //!< 0 float, 1 half, 2 bfloat16
    void const* bias; //!< (channels)
    void* y;          //!< (rows, channels), in and out
    void* stream;     //!< cudaStream_t
} SparsevitBiasGeluCall;

//! One suppression.
typedef struct SparsevitNmsCall
{
    int64_t groups; //!< G
    int64_t count;  //!< N, boxes of a group
    int64_t limit;  //!< boxes kept of a group at most
    float iou;
    float score_threshold;
    float const* boxes;  //!< (G, N, 4)
    float const* scores; //!< (G, N)
    int32_t* keep;       //!< (G, N)
    void* workspace;     //!< sparsevit_nms_keep_workspace() bytes, aligned to 16
    void* stream;        //!< cudaStream_t
} SparsevitNmsCall;

//! One pooling of boxes.
typedef struct SparsevitRoiCall
{
    int64_t batch;    //!< B
    int64_t count;    //!< N, boxes per sample
    int64_t channels; //!< C
    int32_t output_size;
    int32_t element;    //!< 0 float, 1 half, 2 bfloat16
    float finest_scale; //!< pixels
    float strides[4];   //!< pixels per cell of each map
    int32_t heights[4]; //!< of each map
    int32_t widths[4];
    void const* maps[4]; //!< (B, C, height, width) each, finest first
    float const* boxes;  //!< (B, N, 4)
    void* output;        //!< (B, N, C, output_size, output_size)
    void* stream;        //!< cudaStream_t
} SparsevitRoiCall;

//! One attention within windows.
typedef struct SparsevitAttentionCall
{
    int64_t batch;    //!< B
    int64_t count;    //!< k, windows listed per sample
    int64_t channels; //!< C
    int64_t windows;  //!< nW
    int64_t kinds;
    int32_t heads;
    int32_t window_size; //!< t = window_size * window_size
    int32_t element;     //!< 0 float, 1 half, 2 bfloat16
    int32_t index_bytes; //!< 4 or 8
    void const* qkv;           //!< (B, k * t, 3 C)
    void const* qkv_bias;      //!< (3 C)
    void const* index;         //!< (B, k)
    int32_t const* kind;       //!< (nW)
    void const* position_bias; //!< (kinds, heads, t, t)
    void* output;              //!< (B, k * t, C)
    void* stream;              //!< cudaStream_t
} SparsevitAttentionCall;

//! One call of a window kernel that does more than copy. Fields that a kernel does not name are ignored.
typedef struct SparsevitFusedCall
{
    int64_t batch;       //!< B
    int64_t height;      //!< H, tokens
    int64_t width;       //!< W, tokens
    int64_t channels;    //!< C
    int64_t count;       //!< k, windows listed per sample
    int32_t window_size; //!< t = window_size * window_size
    int32_t shift;
    int32_t element;     //!< 0 float, 1 half, 2 bfloat16
    int32_t index_bytes; //!< 4 or 8
    float epsilon;
    void const* x;      //!< (B, H, W, C)
    void const* index;  //!< (B, k)
    void const* scale;  //!< (C)
    void const* bias;   //!< (C)
    void* tokens;       //!< (B, k * t, C)
    void const* update; //!< (B, k * t, C)
    void* output;
    void* workspace;
    void* stream; //!< cudaStream_t
} SparsevitFusedCall;

//! One embedding of images.
typedef struct SparsevitPatchEmbedCall
{
    int64_t batch;        //!< B
    int64_t height;       //!< H, pixels
    int64_t width;        //!< W, pixels
    int64_t pad_multiple; //!< of 4
    int64_t channels;     //!< C
    int32_t element;      //!< 0 float, 1 half, 2 bfloat16
    float epsilon;
    uint8_t const* image; //!< (B, H, W, 3)
    float const* weight;  //!< (48, C)
    float const* bias;    //!< (C)
    float const* mean;    //!< (3)
    void const* scale;    //!< (C)
    void const* shift;    //!< (C)
    void* output;         //!< (B, R, Q, C)
    void* stream;         //!< cudaStream_t
} SparsevitPatchEmbedCall;

//! One decoding of scores.
typedef struct SparsevitLabelDecodeCall
{
    int64_t batch;   //!< B
    int64_t classes; //!< K
    int64_t rows;    //!< h
    int64_t columns; //!< w
    int64_t height;  //!< H
    int64_t width;   //!< W
    int32_t scale;
    int32_t element;    //!< 0 float, 1 half, 2 bfloat16
    void const* logits; //!< (B, K, h, w)
    uint8_t* output;    //!< (B, H, W)
    void* stream;       //!< cudaStream_t
} SparsevitLabelDecodeCall;

//! One LayerNorm with what comes before or behind it. Fields that a kernel does not name are ignored.
typedef struct SparsevitNormCall
{
    int64_t batch;    //!< B
    int64_t height;   //!< H
    int64_t width;    //!< W
    int64_t channels; //!< C
    int32_t element;  //!< 0 float, 1 half, 2 bfloat16
    int32_t output_element;
    float epsilon;
    void const* x;      //!< (B, H, W, C)
    void const* update; //!< (B, H, W, C)
    void const* bias;   //!< (C)
    void const* scale;  //!< (C), (4 C) of merged patches
    void const* shift;
    void* sum; //!< (B, H, W, C)
    void* output;
    void* stream; //!< cudaStream_t
} SparsevitNormCall;

// Each enqueues on the stream and returns a cudaError_t. Addresses are of device memory.

//! Reads x; output: (B, nW) float.
SPARSEVIT_API int32_t sparsevit_window_score(SparsevitCall const* call);
//! Reads x and index; output: (B, k, T, C).
SPARSEVIT_API int32_t sparsevit_window_gather(SparsevitCall const* call);
//! Reads x, windows and index; output: (B, H, W, C), x itself for in place.
SPARSEVIT_API int32_t sparsevit_window_scatter(SparsevitCall const* call);
//! Writes keep: 1 for a box that is kept, else 0.
SPARSEVIT_API int32_t sparsevit_nms_keep(SparsevitNmsCall const* call);
//! Bytes of the workspace; 0 for sizes out of range.
SPARSEVIT_API int64_t sparsevit_nms_keep_workspace(int64_t groups, int64_t count);
//! Writes the boxes' bins.
SPARSEVIT_API int32_t sparsevit_multi_level_roi_align(SparsevitRoiCall const* call);
//! Reads everything but output.
SPARSEVIT_API int32_t sparsevit_window_attention(SparsevitAttentionCall const* call);
//! Reads x, index, scale and bias; writes tokens; output: (B, k * t, C), the tokens' LayerNorm.
SPARSEVIT_API int32_t sparsevit_window_gather_norm(SparsevitFusedCall const* call);
//! Reads x, index, tokens, update and bias; output: (B, H, W, C), x itself for in place.
//! Adds bias to y and applies GELU.
SPARSEVIT_API int32_t sparsevit_bias_gelu(SparsevitBiasGeluCall const* call);
SPARSEVIT_API int32_t sparsevit_window_scatter_add(SparsevitFusedCall const* call);
//! Reads x; output: (B, nW) int32.
SPARSEVIT_API int32_t sparsevit_window_rank(SparsevitFusedCall const* call);
//! Bytes of its workspace, aligned to 8.
SPARSEVIT_API int64_t sparsevit_window_rank_workspace(SparsevitFusedCall const* call);
//! Writes the patches' tokens.
SPARSEVIT_API int32_t sparsevit_patch_embed(SparsevitPatchEmbedCall const* call);
//! Writes the labels.
SPARSEVIT_API int32_t sparsevit_label_decode(SparsevitLabelDecodeCall const* call);

//! Reads everything; writes sum, which may be x; output: (B, H, W, C), the sum's LayerNorm.
SPARSEVIT_API int32_t sparsevit_add_norm(SparsevitNormCall const* call);
//! Reads x, scale and shift; output: (B, C, H, W) of output_element, element or float.
SPARSEVIT_API int32_t sparsevit_feature_map_norm(SparsevitNormCall const* call);
//! Reads x, scale and shift; output: (B, R, Q, 4 C), R and Q half of H and W, rounded up.
SPARSEVIT_API int32_t sparsevit_patch_merge_norm(SparsevitNormCall const* call);

//! Text of an error returned by one of the above; owned by the CUDA runtime.
SPARSEVIT_API char const* sparsevit_error_text(int32_t error);

#ifdef __cplusplus
}
#endif
