// Single steps of float arithmetic, each rounded to nearest. nvcc fuses a product and a sum into one rounding wherever
// it can; where a result is compared with a threshold, or rounded up to a number of samples, the last bit decides, and
// it has to be that of NumPy, OpenCV, PyTorch on the CPU and ONNX Runtime. On the host, compile with -ffp-contract=off.
#pragma once

#include "kernels/host_device.h"

#include <cmath>

namespace sparsevit
{
namespace rn
{

SPARSEVIT_HOST_DEVICE float add(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

SPARSEVIT_HOST_DEVICE float subtract(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fsub_rn(a, b);
#else
    return a - b;
#endif
}

SPARSEVIT_HOST_DEVICE float multiply(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

SPARSEVIT_HOST_DEVICE double multiply(double a, double b)
{
#ifdef __CUDA_ARCH__
    return __dmul_rn(a, b);
#else
    return a * b;
#endif
}

SPARSEVIT_HOST_DEVICE float divide(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}

SPARSEVIT_HOST_DEVICE float root(float a)
{
#ifdef __CUDA_ARCH__
    return __fsqrt_rn(a);
#else
    return std::sqrt(a);
#endif
}

} // namespace rn
} // namespace sparsevit
