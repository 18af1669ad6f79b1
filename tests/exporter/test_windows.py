import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from sparsevit_exporter import windows

MAPS = [(14, 21, 7), (10, 9, 7), (7, 7, 7), (5, 3, 7), (1, 1, 7), (11, 13, 7), (8, 12, 4), (9, 6, 4)]


def reference_partition(x: np.ndarray, window_size: int, shift: int) -> np.ndarray:
    """(B, H, W, C) -> (B, nW, T, C), token by token."""
    batch, height, width, channels = x.shape
    rows, columns = -(-height // window_size), -(-width // window_size)
    padded = np.zeros((batch, rows * window_size, columns * window_size, channels), x.dtype)
    padded[:, :height, :width] = x
    rolled = np.roll(padded, (-shift, -shift), (1, 2))
    out = np.empty((batch, rows * columns, window_size**2, channels), x.dtype)
    for i in range(rows):
        for j in range(columns):
            tile = rolled[:, i * window_size : (i + 1) * window_size, j * window_size : (j + 1) * window_size]
            out[:, i * columns + j] = tile.reshape(batch, window_size**2, channels)
    return out


@pytest.mark.parametrize("height,width,window_size", MAPS)
@pytest.mark.parametrize("shifted", [False, True])
def test_gather_scatter_and_partition_agree(height, width, window_size, shifted):
    shift = window_size // 2 if shifted else 0
    x = torch.randn(2, height, width, 3)
    all_windows = torch.from_numpy(reference_partition(x.numpy(), window_size, shift))
    assert torch.equal(windows.window_partition(x, window_size, shift), all_windows)
    count = all_windows.shape[1]
    for k in {0, 1, count // 2, count}:
        index = torch.stack([torch.randperm(count)[:k] for _ in range(2)])
        gathered = windows.window_gather(x, index, window_size, shift)
        assert torch.equal(gathered, torch.stack([all_windows[b, index[b]] for b in range(2)]))
        scattered = windows.window_scatter(x, gathered + 1, index, window_size, shift)
        expected = all_windows.clone()
        for b in range(2):
            expected[b, index[b]] += 1
        assert torch.equal(scattered, windows.window_reverse(expected, height, width, window_size, shift))


def test_score_is_the_norm_of_mean_magnitudes():
    x = torch.randn(2, 9, 8, 5)
    magnitude = x.abs().mean(-1, keepdim=True).numpy()
    for shift in (0, 3):
        expected = np.sqrt((reference_partition(magnitude, 7, shift) ** 2).sum((2, 3)))
        np.testing.assert_allclose(windows.window_score(x, 7, shift).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("height,width", [(7, 7), (14, 21), (10, 9)])
def test_masks_match_region_labels(height, width):
    """Labels 3a+b on the padded grid, -100 between different labels; also on a map of one window."""
    size, shift = 7, 3
    rows, columns = -(-height // size) * size, -(-width // size) * size
    bounds = lambda n: np.digitize(np.arange(n), [n - size, n - shift])  # noqa: E731
    label = 3 * bounds(rows)[:, None] + bounds(columns)[None, :]
    tiles = label.reshape(rows // size, size, columns // size, size).transpose(0, 2, 1, 3).reshape(-1, size * size)
    expected = np.where(tiles[:, :, None] != tiles[:, None, :], -100.0, 0.0)
    kinds = windows.window_kinds(height, width, size, shift)
    np.testing.assert_array_equal(windows.shift_masks(size, shift)[kinds].numpy(), expected)


def test_gradients_reach_kept_and_skipped_tokens():
    x = torch.randn(1, 9, 8, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[2, 0]])

    def block(t):
        w = windows.window_gather(t, index, 7, 3)
        return windows.window_scatter(t, w * w, index, 7, 3)

    assert torch.autograd.gradcheck(block, (x,))


TABLES = [
    (windows.token_table, (11, 13, 5, 2)),
    (windows.window_kinds, (11, 13, 5, 2)),
    (windows.shift_masks, (5, 2)),
    (windows.relative_position_index, (5,)),
    (windows.placed, (torch.device("cpu"), windows.token_table, 11, 13, 5, 2)),
]


@pytest.mark.parametrize("table,arguments", TABLES, ids=lambda v: getattr(v, "__name__", ""))
def test_tables_are_no_traces_own(table, arguments):
    with FakeTensorMode():
        assert isinstance(table(*arguments), FakeTensor)
    kept = table(*arguments)
    assert type(kept) is torch.Tensor and table(*arguments) is kept


def test_what_was_scored_in_inference_mode_can_be_trained():
    x = torch.randn(1, 9, 17, 3, requires_grad=True)  # a size that nothing else here has
    with torch.inference_mode():
        windows.window_score(x, 7, 3)
    windows.window_score(x, 7, 3).sum().backward()
    assert x.grad.abs().sum() > 0
