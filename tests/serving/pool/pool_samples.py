"""Pools on a real cluster whose rewards need no model, faults put into their actors, and many who ask at once."""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import ray

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import HostError
from persona_rm.serving.client import RayTransport, RewardClient, Unreachable
from persona_rm.simulator.simulated_language import load_language
from persona_rm.types import Persona, RewardRequest

THREADS = 64


def toy_bundle(folder, space):
    """People with a direction each, and a reward that reads the toy world's wordings."""
    active, people = load_language(space).active, []
    for i in range(40):
        directions = tuple((1 if i % 3 else -1) * int(d == active[i % len(active)]) for d in range(len(space)))
        people.append(User(Persona(f"u{i}", directions=directions)))
    keys = {"method": {"name": "pba_linear", "scale": 0.5}, "annotator": {"name": "simulator"}}
    return write_bundle(folder, people, **keys)


def questions(bundle, space):
    """What is asked for, (user, prompt, response), and the rewards that the bundle gives in this process."""
    language, rng = load_language(space), random.Random(7)
    whole = dict.fromkeys(language.active, 1)
    rows = [(f"u{i % 40}", f"Prompt {i}", language.write(whole, "any", rng)) for i in range(4 * THREADS)]
    expected = [result.reward for result in load_bundle(bundle).score([RewardRequest(*row) for row in rows])]
    assert len(set(expected)) > 1, "rewards that are all alike would prove nothing"
    return rows, expected


class Counting(RayTransport):
    """Counts the calls that met a death."""

    met = 0

    def call(self, name, method, args, timeout):
        try:
            return super().call(name, method, args, timeout)
        except Unreachable:
            self.met += 1
            raise


def client(pool, deadline=120):
    return RewardClient(Counting(pool.namespace), deadline=deadline)


def inside(namespace, name, work):
    """Run `work(actor)` in the actor's process, on its event loop."""
    handle = ray.get_actor(name, namespace=namespace)
    return handle.__ray_call__.remote(work)


def pid(namespace, name):
    return ray.get(inside(namespace, name, lambda _actor: os.getpid()), timeout=60)


def slow(namespace, name, seconds):
    """From now on every batch of this process takes so long."""

    def work(actor):
        quick = actor.bundle.score

        def score(requests):
            time.sleep(seconds)
            return quick(requests)

        actor.bundle.score = score

    ray.get(inside(namespace, name, work), timeout=60)


def until(true, patience=90):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            if found := true():
                return found
        except (ray.exceptions.RayError, HostError, ValueError):
            pass
        time.sleep(0.2)
    pytest.fail("it did not come to pass")


def ready(pool, n):
    return until(lambda: len(pool.health()["ready"]) == n and pool.health()["ready"])


def ask_all(one, rows, meanwhile=lambda: None):
    """All rows from 64 threads at once, while something happens; the rewards in their order."""
    gate = threading.Barrier(THREADS + 1)

    def ask(share):
        gate.wait()
        return [one.reward(RewardRequest(*row)).reward for row in share]

    with ThreadPoolExecutor(THREADS) as threads:
        shares = [rows[i::THREADS] for i in range(THREADS)]
        answers = [threads.submit(ask, share) for share in shares]
        gate.wait()
        meanwhile()
        found = [answer.result() for answer in answers]
    return [found[i % THREADS][i // THREADS] for i in range(len(rows))]
