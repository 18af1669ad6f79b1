// The kernels with a C ABI, for whoever has no C++: tests and benchmarks run them without any host.
#pragma once

#include <stdint.h>

#define SPARSEVIT_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C"
{
#endif

//! One call of any of the three kernels. Fields that a kernel does not name are ignored.
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

// Each enqueues on the stream and returns a cudaError_t. Addresses are of device memory.

//! Reads x; output: (B, nW) float.
SPARSEVIT_API int32_t sparsevit_window_score(SparsevitCall const* call);
//! Reads x and index; output: (B, k, T, C).
SPARSEVIT_API int32_t sparsevit_window_gather(SparsevitCall const* call);
//! Reads x, windows and index; output: (B, H, W, C), x itself for in place.
SPARSEVIT_API int32_t sparsevit_window_scatter(SparsevitCall const* call);

//! Text of an error returned by one of the above; owned by the CUDA runtime.
SPARSEVIT_API char const* sparsevit_error_text(int32_t error);

#ifdef __cplusplus
}
#endif
