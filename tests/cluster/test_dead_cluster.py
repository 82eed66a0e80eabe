"""A cluster that does not answer is refused in seconds, with its address and what to do."""

import socket
import time

import pytest

from persona_rm.cluster.ray_start import require_alive
from persona_rm.errors import HostError

pytest.importorskip("ray")


def refused(address):
    started = time.monotonic()
    with pytest.raises(HostError, match=f"no Ray cluster answers at {address} .*RAY_ADDRESS names it") as caught:
        require_alive(address, timeout=1)
    assert time.monotonic() - started < 15
    return str(caught.value)


def test_nothing_listens_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "refused" in refused(f"127.0.0.1:{port}")


def test_what_listens_there_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert "gRPC" in refused(f"127.0.0.1:{mute.getsockname()[1]}")


def test_other_forms_are_left_to_ray():
    for address in (None, "", "auto", "local", "ray://127.0.0.1:1"):
        require_alive(address)
