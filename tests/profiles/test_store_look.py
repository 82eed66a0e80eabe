"""States and tombstones are read as of one moment."""

import threading

from persona_rm.types import UserState


def state(user_id) -> UserState:
    return UserState("vote", user_id, {}, n_items=1, version=1)


def test_a_look_sees_a_user_with_a_state_or_erased_and_never_neither(writable):
    store, stop, neither = writable.fill([state("ann")]), threading.Event(), []

    def write():
        own = writable.open()
        while not stop.is_set():
            own.erase(["ann"])
            own.put([state("ann")], readmit=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            states, dates = store.look(["ann", "bob"])
            neither += [(states, dates)] * (("ann" in states) == ("ann" in dates))
            assert "bob" not in {*states, *dates}
    finally:
        stop.set()
        writer.join()
    assert neither == []
