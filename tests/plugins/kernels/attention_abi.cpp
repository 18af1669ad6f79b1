// Where the attention's rows lie in shared memory, with a C ABI for test_window_attention.py.
#include "kernels/window_attention/layout.h"

extern "C" int32_t headRowPlace(int32_t headDim, int32_t row, int32_t vector)
{
    switch (headDim)
    {
    case 16: return sparsevit::HeadRows<16>::place(row, vector);
    case 32: return sparsevit::HeadRows<32>::place(row, vector);
    default: return sparsevit::HeadRows<64>::place(row, vector);
    }
}

extern "C" int32_t attentionBiasVectors(int32_t tokens)
{
    return sparsevit::biasVectors(tokens);
}
