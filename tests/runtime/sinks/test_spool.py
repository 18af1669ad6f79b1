"""What waits to be sent is bounded, in order, and on a disk survives a kill."""

from __future__ import annotations

import shutil

import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks.spool import Spool


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%06d" % i for i in range(first, last)]


def drain(spool: Spool, most: int = 7) -> list[bytes]:
    found: list[bytes] = []
    while messages := spool.peek(most):
        found += messages
        spool.commit()
    return found


def put(spool: Spool, messages: list[bytes]) -> None:
    for message in messages:
        spool.put(message)


def test_messages_come_out_in_order_and_only_once():
    spool = Spool()
    put(spool, numbered(0, 20))
    assert spool.peek(3) == spool.peek(3) == numbered(0, 3)
    assert drain(spool) == numbered(0, 20)
    assert len(spool) == spool.dropped == 0


def test_full_memory_gives_up_the_oldest_and_counts_them():
    spool = Spool(memory_bytes=60)
    put(spool, numbered(0, 25))
    assert spool.dropped == 15
    assert drain(spool) == numbered(15, 25)


def test_what_is_dropped_while_it_is_being_sent_is_not_forgotten_twice():
    spool = Spool(memory_bytes=60)
    put(spool, numbered(0, 10))
    assert spool.peek(5) == numbered(0, 5)
    put(spool, numbered(10, 18))
    spool.commit()
    assert (spool.dropped, drain(spool)) == (8, numbered(8, 18))


def test_memory_that_fills_up_moves_to_the_disk_and_keeps_its_order(tmp_path):
    spool = Spool(tmp_path / "spool", memory_bytes=60)
    for message in numbered(0, 100):
        spool.put(message)
        spool.relieve()
    assert (len(spool), spool.dropped) == (100, 0)
    assert drain(spool) == numbered(0, 100)
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["lock"]


def test_messages_may_be_taken_while_others_come(tmp_path):
    spool = Spool(tmp_path, memory_bytes=60)
    put(spool, numbered(0, 8))
    spool.relieve()
    found = spool.peek(3)
    spool.commit()
    put(spool, numbered(8, 16))
    spool.relieve()
    assert found + drain(spool, 4) == numbered(0, 16)


def test_full_disk_space_gives_up_the_oldest_and_counts_them(tmp_path):
    spool = Spool(tmp_path, disk_bytes=1600, memory_bytes=60)
    for message in numbered(0, 1000):
        spool.put(message)
        spool.relieve()
    spool.relieve(all=True)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.spool")) <= 1600
    kept = drain(spool)
    assert kept == numbered(1000 - len(kept), 1000)
    assert len(kept) + spool.dropped == 1000
    assert 180 <= len(kept) <= 230


def test_what_is_left_at_the_end_comes_first_at_the_next_start(tmp_path):
    with_some = Spool(tmp_path)
    put(with_some, numbered(0, 10))
    with_some.peek(4)
    with_some.commit()
    with_some.close()
    assert with_some.dropped == 0
    again = Spool(tmp_path)
    put(again, numbered(10, 12))
    assert (len(again), drain(again)) == (8, numbered(4, 12))


def test_half_a_line_that_a_kill_left_is_no_message(tmp_path):
    (tmp_path / "000000000007.spool").write_bytes(b"one\ntwo\nthr")
    spool = Spool(tmp_path)
    spool.put(b"new")
    assert drain(spool) == [b"one", b"two", b"new"]


def test_without_a_disk_what_is_left_is_dropped_and_counted():
    spool = Spool()
    put(spool, numbered(0, 3))
    spool.close()
    assert (spool.dropped, len(spool)) == (3, 0)


def test_a_folder_that_is_removed_meanwhile_costs_messages_which_are_counted(tmp_path, caplog):
    spool = Spool(tmp_path / "a")
    put(spool, numbered(0, 3))
    spool.relieve(all=True)
    shutil.rmtree(tmp_path / "a")
    put(spool, numbered(3, 5))
    assert (drain(spool), spool.dropped) == (numbered(3, 5), 3)
    put(spool, numbered(5, 7))
    spool.relieve(all=True)
    assert (len(spool), spool.dropped) == (0, 5)
    assert "takes no more" in caplog.text


def test_a_folder_serves_one_spool(tmp_path):
    first = Spool(tmp_path)
    with pytest.raises(SinkError, match="in use by another"):
        Spool(tmp_path)
    first.close()
    Spool(tmp_path).close()


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be used"):
        Spool(tmp_path / "file" / "spool")
