import numpy as np
import pytest

from sparsevit_runtime.sources.base import Frame
from sparsevit_runtime.sources.iterable import IterableSource


def test_images_are_numbered_and_frames_keep_what_they_say():
    image = np.zeros((4, 4, 3), np.uint8)
    own = Frame(image, 70, 5, {"matrix": np.eye(3)})
    with IterableSource([image, own, image]) as source:
        frames = list(source)
    assert [f.index for f in frames] == [0, 70, 2]
    assert frames[1] is own and all(f.image is image for f in frames)


@pytest.mark.parametrize(("given", "count"), [([1, 2], 2), (np.zeros((3, 4, 4, 3), np.uint8), 3), (iter([1]), None)])
def test_the_number_of_frames_where_it_is_known(given, count):
    assert IterableSource(given).frame_count == count


def test_after_close_there_is_nothing():
    source = IterableSource([1, 2])
    source.close()
    source.close()
    assert source.read() is None and not source.live
