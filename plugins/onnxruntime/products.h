// Products of a feed-forward layer: x W + b through GELU, by cuBLASLt, which a process that runs ONNX Runtime on CUDA
// has loaded. Neither its headers nor its library are needed to build.
#pragma once

#include "kernels/element.h"

#include <cstddef>
#include <cstdint>
#include <cuda_runtime_api.h>
#include <mutex>

namespace sparsevit
{
namespace ort
{

//! One run.
struct ProductCall
{
    int64_t rows;
    int64_t in;
    int64_t out;
    Element element;
    void const* x;      //!< (rows, in)
    void const* weight; //!< (in, out)
    void const* bias;   //!< (out)
    void* y;            //!< (rows, out)
};

//! A kind of runs, and how cuBLASLt runs them.
struct ProductPlan;

//! The plans of one node; cuBLASLt takes its time to make one. Threads: safe.
//!
//! In half precision GELU is cuBLASLt's, which is the one by tanh (at most 5e-4 from the exact one, less than a rounding
//! of 1); in float, and where cuBLASLt has none, it is exact.
class Products
{
public:
    Products() = default;
    Products(Products const&) = delete;
    Products& operator=(Products const&) = delete;
    ~Products();

    //! Bytes of memory on the GPU that a run needs beside its tensors.
    size_t workspace(ProductCall const& call);

    //! \param workspace As much as was asked for.
    cudaError_t run(ProductCall const& call, void* workspace, cudaStream_t stream);

private:
    //! The caller holds the mutex.
    ProductPlan const* planOf(ProductCall const& call);

    std::mutex mMutex;
    ProductPlan* mPlans{nullptr};
};

} // namespace ort
} // namespace sparsevit
