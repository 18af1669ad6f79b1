// How threads share a token: plain C++, decided before launch.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace sparsevit
{

//! `threads` neighbouring threads, a power of two up to a warp, hold up to `held` vectors of a token each.
struct TokenTeam
{
    int32_t threads;
    int32_t held; //!< 3, 4, 6 or 12; 0: too many vectors for a warp
};

//! The team that leaves the fewest places empty, of equal ones that with the most threads. Three, six and twelve are
//! the multiples that the channel numbers of Swin transformers have; four those of powers of two.
inline TokenTeam tokenTeam(int64_t vectors)
{
    TokenTeam best{0, 0};
    int64_t fewest = -1;
    for (int32_t const held : {3, 4, 6, 12})
    {
        int32_t threads = 1;
        while (threads < 32 && int64_t{threads} * held < vectors)
        {
            threads *= 2;
        }
        int64_t const empty = int64_t{threads} * held - vectors;
        if (empty >= 0 && (fewest < 0 || empty < fewest))
        {
            fewest = empty;
            best = TokenTeam{threads, held};
        }
    }
    return best;
}

} // namespace sparsevit
