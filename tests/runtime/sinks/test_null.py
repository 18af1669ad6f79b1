from __future__ import annotations

from sparsevit_runtime.sinks import NullSink, open_sink


def test_it_counts(result_of):
    with open_sink("null://") as sink:
        assert isinstance(sink, NullSink)
        assert not sink.needs_image
        for i in range(3):
            sink.write(result_of(i))
    assert sink.count == 3
