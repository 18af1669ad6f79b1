/* A camera frame into one sample of the model's input, on the GPU: plain C, exported by libsparsevit_plugins.so. */
#ifndef SPARSEVIT_LETTERBOX_H
#define SPARSEVIT_LETTERBOX_H

#include <stdint.h>

#ifdef __cplusplus
extern "C"
{
#endif

struct CUstream_st; /* *cudaStream_t */

/* Addresses are of memory that the GPU reaches. Pixels are three bytes each, blue, green, red as OpenCV orders them;
   nothing depends on that order. */
typedef struct SparsevitLetterbox
{
    void const* frame;    /* (frame_height, frame_width, 3) uint8 */
    int64_t frame_pitch;  /* bytes from a row of the frame to the next, at least 3 * frame_width */
    void* input;          /* (batch, input_height, input_width, 3) uint8, without gaps */
    int64_t sample;       /* which sample of the batch is written, all of it */
    int32_t frame_width;  /* pixels */
    int32_t frame_height;
    int32_t input_width;
    int32_t input_height;
    int32_t left;         /* first column and row of the scaled frame in the input */
    int32_t top;
    int32_t width;        /* size of the scaled frame */
    int32_t height;
    int32_t pad_value;    /* grey level of the borders, 0 to 255 */
} SparsevitLetterbox;

/* Enqueues the scaling and the borders on `stream`; neither allocates nor waits. The frame and the input do not overlap.
   Returns a cudaError_t: 0, the launch's error, or cudaErrorInvalidValue (1) for sizes that do not fit each other. */
__attribute__((visibility("default"))) int32_t sparsevit_letterbox(
    SparsevitLetterbox const* letterbox, struct CUstream_st* stream);

/* The same for a frame that fills the input, each axis scaled by itself and bilinearly however much it shrinks: left and
   top are 0, width and height the input's. */
__attribute__((visibility("default"))) int32_t sparsevit_stretch(
    SparsevitLetterbox const* stretch, struct CUstream_st* stream);

#ifdef __cplusplus
}
#endif

#endif
