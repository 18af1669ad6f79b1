// How FeatureMapNorm tiles a map, with a C ABI for test_norms.py.
#include "kernels/feature_map_norm/tile.h"

extern "C" int32_t mapTileOf(int64_t words, int64_t most, int32_t* stride)
{
    sparsevit::MapTile const tile = sparsevit::mapTile(words, most);
    *stride = tile.stride;
    return tile.tokens;
}
