// How wide the kernels' accesses are, with a C ABI for test_window_kernels.py.
#include "kernels/launch.cuh"

extern "C" int32_t vectorBytes(int64_t tokenBytes, void const* first, void const* second)
{
    return sparsevit::vectorBytes(tokenBytes, {first, second});
}
