"""A cluster of ours in front of other processes: those without its token, and those elsewhere in the network."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from persona_rm.cluster.ray_start import _access
from persona_rm.construct.job import local_ray

READER = """
import sys
import ray
try:
    ray.init(address=sys.argv[1], namespace="private", log_to_driver=False, logging_level="error")
    print(ray.get(ray.get_actor("holder").read.remote(), timeout=60))
except Exception as error:
    print("refused:", type(error).__name__)
"""
OPEN = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def test_the_token_is_new_and_only_the_users(tmp_path):
    access = [_access(tmp_path / name) for name in "ab"]
    files = [Path(one["RAY_AUTH_TOKEN_PATH"]) for one in access]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 2
    first, second = (file.read_text() for file in files)
    assert len(first) == len(second) == 64
    assert first != second
    assert first not in str(access)


@pytest.fixture(scope="module")
def holder(tmp_path_factory):
    """What another process needs in order to join a cluster with an actor that holds a user's preference."""
    ray = pytest.importorskip("ray")

    class Holder:
        def read(self):
            return "likes tea"

    before = dict(os.environ)
    with local_ray(num_cpus=1, num_gpus=0, namespace="private") as access:
        actor = ray.remote(Holder).options(name="holder", num_cpus=0).remote()
        assert ray.get(actor.read.remote(), timeout=60) == "likes tea"
        yield access
    assert dict(os.environ) == before
    assert not Path(access["RAY_AUTH_TOKEN_PATH"]).exists()


def read(address, **env):
    """What another process says that tries to read the actor, with `env` beside an environment without Ray's keys."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    command = [sys.executable, "-c", READER, address]
    done = subprocess.run(command, env=clean | env, capture_output=True, text=True, timeout=240, check=False)
    return done.stdout.strip()


@pytest.mark.slow
def test_a_process_with_the_token_reads_and_others_are_refused(holder):
    """Those without it are told to use loopback, as ours: this is about the token alone."""
    address = holder["RAY_ADDRESS"]
    assert read(address, **holder) == "likes tea"
    assert read(address, **holder | {"RAY_AUTH_TOKEN": "0" * 64}).startswith("refused:")
    assert read(address, **{OPEN: "0"}).startswith("refused:")
    assert read(address, **{OPEN: "0", "RAY_AUTH_MODE": "token", "HOME": "/nowhere"}).startswith("refused:")


def tree(pid):
    """This process and its descendants."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return set(found)


def listening(pids):
    """(address, port) of every TCP socket on which one of these processes listens. Addresses are in hexadecimal, as
    Linux writes them."""
    inodes = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            target = str(handle.readlink()) if handle.is_symlink() else ""
            inodes.add(target.removeprefix("socket:[").rstrip("]"))
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:
                address, port = local.split(":")
                found.add((address, int(port, 16)))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="reads Linux's tables of sockets")
def test_nothing_listens_on_an_address_of_the_network(holder):
    sockets = listening(tree(os.getpid()))
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert int(holder["RAY_ADDRESS"].split(":")[1]) in {port for _, port in sockets}
    assert {address for address, _ in sockets} <= loopback, sockets


@pytest.mark.slow
def test_the_machines_outer_address_does_not_answer(holder):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; the system chooses the address of ours that it would use
        outer = probe.getsockname()[0]
    if outer.startswith("127."):
        pytest.skip("this machine has no outer address")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((outer, int(holder["RAY_ADDRESS"].split(":")[1])), timeout=10)
