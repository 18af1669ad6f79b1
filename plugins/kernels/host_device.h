// Functions that run on the host as well as on the GPU.
#pragma once

#ifdef __CUDACC__
#define SPARSEVIT_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define SPARSEVIT_HOST_DEVICE inline
#endif
