// How many tokens a block takes, and how far apart their rows lie in shared memory: plain C++, decided before launch.
#pragma once

#include <cstdint>

namespace sparsevit
{

struct MapTile
{
    static constexpr int32_t kThreads{256};
    static constexpr int64_t kMostBytes{47 << 10}; //!< of the 48 KB that every block may have, the moments beside it

    int32_t tokens; //!< 32, 16 or 8; 0: not even 8 fit
    int32_t stride; //!< words of 4 bytes from one token's row to the next

    int64_t bytes() const
    {
        return int64_t{4} * tokens * stride;
    }
};

//! A warp reads `tokens` rows at 32 / tokens neighbouring words: this stride puts them into 32 banks.
inline int32_t tileStride(int32_t tokens, int32_t words)
{
    int32_t const unit = 32 / tokens;
    return words + (3 * unit - words % (2 * unit)) % (2 * unit);
}

//! \param words Of 4 bytes in a row. \param most Tokens of all maps: few of them are spread over all of a GPU.
inline MapTile mapTile(int64_t words, int64_t most)
{
    constexpr int64_t kFewBlocks{256};
    MapTile tile{0, 0};
    for (int32_t tokens = 32; tokens >= 8; tokens /= 2)
    {
        bool const fits = words <= MapTile::kMostBytes / (4 * tokens) - 8;
        if (fits)
        {
            tile = MapTile{tokens, tileStride(tokens, static_cast<int32_t>(words))};
            if (most >= kFewBlocks * tokens)
            {
                break;
            }
        }
    }
    return tile;
}

} // namespace sparsevit
