import numpy as np

from runtime.live.devices import Feed
from sparsevit_runtime.live.outlet import Pull
from sparsevit_runtime.live.session import Session
from sparsevit_runtime.model import load


def test_a_level_holds_from_the_next_frame_and_leaves_no_trace(exported, frame):
    """The same frame at the same level is bit-equal, whatever came before, and to a call."""
    levels = [None, 0.5, 0.7, None, 0.5, [0.3, 0.2, 0.5, 0.0], 0.7, None]
    feed, results = Feed(live=False), Pull(0)
    other = frame[::-1].copy()
    with load(exported(), threads=1) as model, Session(model.runner, feed, [results]) as session:
        found = {}
        for i, level in enumerate(levels):
            session.level = level
            for image in (frame, other)[:: 1 if i % 2 else -1]:
                feed.give(image)
                result = next(results).result
                wanted = model(image, level)
                assert (result.keep, result.window_share) == (wanted.keep, wanted.window_share)
                assert result.keep == session.level.kept
                np.testing.assert_array_equal(result.label_map, wanted.label_map)
                found.setdefault((str(level), image is frame), []).append(result.label_map)
        assert len({result.keep for result in [model(frame, level) for level in levels]}) == 4
        for same in found.values():
            assert all((same[0] == each).all() for each in same)
