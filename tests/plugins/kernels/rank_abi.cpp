// The sort of the rank by itself, and the LayerNorm's teams, with a C ABI for test_fused_windows.py.
#include "kernels/token_team.h"
#include "kernels/window_rank/kernel.h"

#include <cstring>

extern "C" int32_t sortWindows(
    int32_t windows, int64_t batch, float const* scores, int32_t* order, void* workspace)
{
    float* const where = sparsevit::windowRankScores(windows, order, workspace);
    std::memcpy(where, scores, static_cast<size_t>(batch * windows) * sizeof(float));
    return sparsevit::launchWindowSort(windows, batch, order, workspace, nullptr);
}

extern "C" int32_t tokenTeamOf(int64_t vectors, int32_t* held)
{
    sparsevit::TokenTeam const team = sparsevit::tokenTeam(vectors);
    *held = team.held;
    return team.threads;
}
