import threading
import time

import pytest

from sparsevit_runtime.live.channel import Channel, Closed, Empty

pytestmark = pytest.mark.timed


def test_order():
    channel = Channel(3)
    for i in range(3):
        assert channel.put(i) is None
    assert [channel.get() for _ in range(3)] == [0, 1, 2]


def test_a_full_channel_makes_the_sender_wait():
    channel, sent = Channel(1), []

    def send():
        for i in range(3):
            channel.put(i)
            sent.append(i)

    thread = threading.Thread(target=send)
    thread.start()
    time.sleep(0.05)
    assert sent == [0]
    assert [channel.get() for _ in range(3)] == [0, 1, 2]
    thread.join(2)
    assert sent == [0, 1, 2] and channel.replaced == 0


def test_a_mailbox_replaces_and_counts():
    channel = Channel(1, replace=True)
    assert [channel.put(i) for i in range(3)] == [None, 0, 1]
    assert channel.get() == 2 and channel.replaced == 2


def test_closing_lets_what_is_held_through():
    channel = Channel(2)
    channel.put(1)
    channel.close()
    assert channel.get() == 1
    with pytest.raises(Closed):
        channel.get()
    with pytest.raises(Closed):
        channel.put(2)


def test_an_error_comes_after_what_is_held():
    channel = Channel(2)
    channel.put(1)
    channel.close(OSError("cable"))
    channel.close()  # the first reason stands
    assert channel.get() == 1
    with pytest.raises(OSError, match="cable"):
        channel.get()


@pytest.mark.parametrize("waiting", ["put", "get"])
def test_abandoning_wakes_whoever_waits(waiting):
    channel, woken = Channel(1), threading.Event()
    if waiting == "put":
        channel.put(0)

    def wait():
        try:
            channel.put(1) if waiting == "put" else channel.get()
        except Closed:
            woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.02)
    channel.abandon()
    assert woken.wait(2)
    thread.join(2)
    with pytest.raises(Closed):
        channel.get()
    assert channel.abandon() == []


def test_what_was_held_when_abandoned_comes_back_to_be_counted():
    channel = Channel(3)
    channel.put(1)
    channel.put(2)
    assert channel.abandon() == [1, 2] and len(channel) == 0
    assert isinstance(channel.end, Closed)


def test_a_direct_hand_over_lasts_until_the_item_is_taken():
    channel, done = Channel(0), threading.Event()

    def send():
        channel.put(1)
        done.set()

    thread = threading.Thread(target=send)
    thread.start()
    assert not done.wait(0.05)
    assert channel.get() == 1
    assert done.wait(2)
    thread.join(2)


def test_a_direct_hand_over_that_nobody_takes_is_told_to_the_sender():
    channel, told = Channel(0), threading.Event()

    def send():
        try:
            channel.put(1)
        except Closed:
            told.set()

    thread = threading.Thread(target=send)
    thread.start()
    while not len(channel):
        time.sleep(0.001)
    assert channel.abandon() == [1] and told.wait(2)
    thread.join(2)


def test_waiting_for_a_while():
    channel = Channel(1)
    with pytest.raises(Empty):
        channel.get(0.01)
    channel.put(1)
    assert channel.get(0.01) == 1
    channel.close(TimeoutError("of the sender's own"))
    with pytest.raises(TimeoutError, match="own"):
        channel.get(0.01)


def test_the_end_shows_once_the_channel_is_empty():
    channel, error = Channel(1), OSError("cable")
    assert channel.end is None
    channel.put(1)
    channel.close(error)
    assert channel.end is None
    channel.get()
    assert channel.end is error
