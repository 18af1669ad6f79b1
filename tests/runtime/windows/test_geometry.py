import pytest

from sparsevit_runtime.windows.geometry import stage_geometries


@pytest.mark.parametrize(
    ("size", "maps", "windows"),
    [
        ((224, 224), [(56, 56), (28, 28), (14, 14), (7, 7)], [64, 16, 4, 1]),
        ((672, 672), [(168, 168), (84, 84), (42, 42), (21, 21)], [576, 144, 36, 9]),
        ((320, 256), [(80, 64), (40, 32), (20, 16), (10, 8)], [120, 30, 9, 4]),  # every stage padded
        ((30, 45), [(8, 12), (4, 6), (2, 3), (1, 2)], [4, 1, 1, 1]),  # not even whole patches
        ((1, 1), [(1, 1)] * 4, [1] * 4),
    ],
)
def test_token_maps_and_windows(size, maps, windows):
    stages = stage_geometries(*size, depths=(2, 2, 6, 2), window_size=7)
    assert [(s.height, s.width) for s in stages] == maps
    assert [s.windows for s in stages] == windows
    assert [s.pairs for s in stages] == [1, 1, 3, 1]


def test_padded_map_covers_the_tokens():
    stage = stage_geometries(320, 256, (2, 2, 6, 2), 7)[0]
    assert (stage.windows_hw, stage.padded_hw, stage.is_padded, stage.shift) == ((12, 10), (84, 70), True, 3)
    assert not stage_geometries(224, 224, (2,), 7)[0].is_padded


def test_a_last_odd_block_is_a_pair_of_its_own():
    assert stage_geometries(64, 64, (3,), 2)[0].pairs == 2
