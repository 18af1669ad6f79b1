// What all kernels of the embedding are given.
#pragma once

#include "kernels/element_cast.cuh"
#include "kernels/patch_embed/patches.h"

namespace sparsevit
{

struct Embedding
{
    PatchGrid grid;
    uint32_t patches; //!< of all images
    int32_t channels;
    float share; //!< of a channel in a mean: 1 / channels
    float epsilon;
    uint8_t const* image;
    float const* weight;
    float const* bias;
    float const* mean;

    //! A byte of a patch as a number.
    __device__ float at(uint32_t patch, int32_t byte) const
    {
        int64_t const place = grid.place(patch, byte);
        return place == kNoByte ? mean[byte % 3] : static_cast<float>(image[place]);
    }
};

} // namespace sparsevit
