from fractions import Fraction

import numpy as np

from sparsevit_exporter.map_ops import scale_to


def test_a_map_is_resized_to_its_size_in_whatever_precision_that_is_computed():
    for size in range(1, 300):
        for wanted in (2 * size - 1, 2 * size, 2 * size + 1, 4 * size - 3, 3 * size + 1):
            scale = scale_to(size, wanted)
            assert scale == np.float32(scale) and abs(scale - wanted / size) < 1e-6 * scale
            assert int(Fraction(scale) * size) == int(np.float32(size) * np.float32(scale)) == wanted
