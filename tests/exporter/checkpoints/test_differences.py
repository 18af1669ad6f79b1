import pytest

from sparsevit_exporter.checkpoints.differences import differences
from sparsevit_runtime.windows.geometry import stage_geometries

SWIN = (2, 2, 6, 2)


@pytest.mark.parametrize("format", ["microsoft", "timm", "huggingface"])
@pytest.mark.parametrize(
    ("size", "padded", "shifted"),
    [
        ((448, 448), None, None),
        ((448, 672), None, None),
        ((224, 224), None, "stage 4"),
        ((224, 448), None, "stage 4"),
        ((480, 640), "stages 1, 2, 3, 4", None),
        ((448, 640), "stages 1, 2, 3, 4", None),
        ((200, 200), "stages 1, 2, 3", "stage 4"),
    ],
)
def test_what_a_dense_swin_is_told(format, size, padded, shifted):
    told = differences(format, stage_geometries(*size, SWIN, 7))
    if padded is None and shifted is None:
        assert told is None
        return
    assert told.count("\n") == 0 and f"this {format} Swin" in told
    assert ("pads before the norm" in told) == (padded is not None)
    assert ("keeps the shift" in told) == (shifted is not None)
    for stages in filter(None, (padded, shifted)):
        assert f"({stages};" in told
    if padded:
        assert "multiples of 224 pixels" in told


@pytest.mark.parametrize("format", ["native", "reference", "exported"])
def test_own_weights_are_told_nothing(format):
    assert differences(format, stage_geometries(480, 640, SWIN, 7)) is None


def test_a_stage_of_one_block_has_no_shift():
    assert differences("timm", stage_geometries(224, 224, (2, 2, 6, 1), 7)) is None
