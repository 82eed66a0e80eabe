"""Room, decisions and bounds of a pool, without Ray."""

import pytest

from persona_rm.errors import HostError
from persona_rm.serving.pool import resources
from persona_rm.serving.pool.pool import Pool, start_pool
from persona_rm.serving.pool.resources import ClusterNode, Need, fitting, require_room
from persona_rm.serving.pool.scaling import ActorStatus, Plan, Policy, Trend, decide

GROWS = Policy(1, 3, busy_rows=10, busy_checks=3, idle_seconds=60, drain_seconds=10)


def node(name="a", cpus=4.0, gpus=0.0, free_cpus=None, free_gpus=None):
    free = {"CPU": cpus if free_cpus is None else free_cpus, "GPU": gpus if free_gpus is None else free_gpus}
    return ClusterNode(name, {"CPU": cpus, "GPU": gpus}, free)


@pytest.mark.parametrize(
    ("needs", "rooms", "fit"),
    [
        ([Need("actors", 2, 1)], [{"CPU": 2}], 2),
        ([Need("actors", 2, 1)], [{"CPU": 1}], 1),
        ([Need("actors", 1, 2)], [{"CPU": 1}, {"CPU": 1}], 0),
        ([Need("actors", 3, 1, 0.3)], [{"CPU": 8, "GPU": 1}], 3),
        ([Need("actors", 4, 1, 0.3)], [{"CPU": 8, "GPU": 1}], 3),
        ([Need("actors", 1, 1, 1)], [{"CPU": 8}], 0),
        ([Need("actors", 2, 1), Need("others", 1, 3)], [{"CPU": 2}, {"CPU": 3}], 3),
        ([Need("actors", 10, 0.1)], [{"CPU": 1}], 10),
        ([Need("actors", 5, 0)], [{}], 5),
        ([Need("actors", 1, 0)], [], 0),
    ],
)
def test_an_actor_must_fit_on_one_node(needs, rooms, fit):
    assert fitting(needs, rooms) == fit


def test_too_large_for_the_cluster_is_said_at_once_with_what_each_node_has(monkeypatch):
    monkeypatch.setattr(resources, "cluster_nodes", lambda: [node("a", 1, free_cpus=0.5), node("b", 1.0, 2.0)])
    monkeypatch.setattr(resources.time, "sleep", lambda _: pytest.fail("it waited"))
    with pytest.raises(HostError) as caught:
        require_room([Need("reward actors", 2, 2, 0.5)])
    text = str(caught.value)
    assert text.startswith("asked for 2 reward actors of 2 CPU and 0.5 GPU each; an actor must fit on one node")
    assert "has room for 0 of them (too small)" in text
    assert "a has 0.5 of 1 CPU and 0 of 0 GPU free; b has 1 of 1 CPU and 2 of 2 GPU free" in text
    assert "fewer actors (--actors), for less each (--cpus, --gpus)" in text


def test_what_others_hold_is_waited_for_a_moment_and_then_said(monkeypatch):
    monkeypatch.setattr(resources, "cluster_nodes", lambda: [node("a", 4, free_cpus=1)])
    with pytest.raises(
        HostError, match=r"room for 1 of them \(others hold the rest: start the actors before the host"
    ):
        require_room([Need("reward actors", 2, 1)], timeout=0.3)


def test_what_is_given_back_meanwhile_is_enough(monkeypatch):
    free = iter([0.0, 1.0, 2.0])
    monkeypatch.setattr(resources, "cluster_nodes", lambda: [node("a", 4, free_cpus=next(free))])
    require_room([Need("reward actors", 2, 1)])
    assert list(free) == []


@pytest.mark.parametrize("bounds", [(0, 2), (3, 3), (1, 1)])
def test_bounds_that_do_not_hold_the_number_are_refused(monkeypatch, tmp_path, bounds):
    monkeypatch.setattr("persona_rm.serving.pool.pool.wants_inference", lambda _: False)
    with pytest.raises(HostError, match=f"asked for 2 reward actors, at least {bounds[0]}, at most {bounds[1]}"):
        start_pool(tmp_path, 2, policy=Policy(*bounds))


def test_the_inference_actor_comes_last():
    assert Pool("ns", ("reward-0", "reward-1"), "inference-0").every == ("reward-0", "reward-1", "inference-0")
    assert Pool("ns", ("reward-0",)).every == ("reward-0",)


def steps(policy, trend, looks, start=0.0, every=1.0):
    """Plans of one look after the other, and what is remembered at the end."""
    plans = []
    for i, sights in enumerate(looks):
        plan, trend = decide(policy, trend, sights, start + i * every)
        plans.append(plan)
    return plans, trend


def see(*waiting, **keys):
    return [ActorStatus(f"reward-{i}", waiting=rows, **keys) for i, rows in enumerate(waiting)]


def test_a_calm_pool_is_left_alone():
    plans, trend = steps(Policy(2, 2), Trend(2), [see(0, 3)] * 5)
    assert plans == [Plan()] * 5
    assert trend.target == 2


def test_what_died_for_good_is_created_again():
    assert decide(Policy(2, 2), Trend(2), see(0), 0.0)[0] == Plan(create=1)
    assert decide(Policy(2, 2), Trend(2), [], 0.0)[0] == Plan(create=2)


@pytest.mark.parametrize(
    ("sight", "restarted"),
    [
        (ActorStatus("r", stuck=99), False),
        (ActorStatus("r", stuck=101), True),
        (ActorStatus("r", silent=59), False),
        (ActorStatus("r", silent=61), True),
        (ActorStatus("r", "starting", silent=299), False),
        (ActorStatus("r", "starting", silent=301), True),
        (ActorStatus("r", waiting=10**6), False),
    ],
)
def test_stuck_and_silent_ones_are_restarted_and_starting_ones_have_time(sight, restarted):
    plan, _ = decide(Policy(), Trend(1), [sight], 0.0)
    assert plan == Plan(restart=("r",) if restarted else ())


def test_rows_that_pile_up_for_several_looks_bring_one_more():
    busy = see(11)
    plans, trend = steps(GROWS, Trend(1), [busy, busy, see(10), busy, busy, busy])
    assert [plan.create for plan in plans] == [0, 0, 0, 0, 0, 1]
    assert (trend.target, trend.busy) == (2, 0)


def test_the_mean_counts():
    plans, _ = steps(GROWS, Trend(2), [see(20, 0)] * 6)
    assert all(plan == Plan() for plan in plans)


def test_nobody_is_added_while_one_starts_or_above_the_bound():
    starting = [*see(50), ActorStatus("reward-1", "starting", silent=5)]
    plans, trend = steps(GROWS, Trend(2), [starting] * 10)
    assert (trend.target, plans) == (2, [Plan()] * 10)
    plans, trend = steps(GROWS, Trend(3), [see(50, 50, 50)] * 10)
    assert (trend.target, plans) == (3, [Plan()] * 10)


def test_a_long_rest_ends_the_last_one_after_clients_left_it_never_below_the_bound():
    plans, trend = steps(GROWS, Trend(2), [see(0, 0)] * 7, every=10)
    assert plans == [Plan()] * 7, "60 s idle: it is sent nobody from now on"
    assert (trend.target, dict(trend.retiring)) == (1, {"reward-1": 60.0})
    plans, trend = steps(GROWS, trend, [see(0, 0), see(0)], start=70, every=10)
    assert plans == [Plan(end=("reward-1",)), Plan()]
    assert (trend.target, dict(trend.retiring)) == (1, {})
    plans, trend = steps(GROWS, trend, [see(0)] * 20, start=100, every=100)
    assert (trend.target, plans) == (1, [Plan()] * 20)


def test_one_with_rows_does_not_end():
    trend = Trend(1, retiring={"reward-1": 0.0})
    assert decide(GROWS, trend, see(0, 1), 100.0)[0] == Plan()
    assert decide(GROWS, trend, [*see(0), ActorStatus("reward-1", stuck=1.0)], 100.0)[0] == Plan()
    assert decide(GROWS, trend, see(0, 0), 100.0)[0] == Plan(end=("reward-1",))


def test_a_rest_that_is_broken_begins_anew():
    looks = [see(0, 0)] * 6 + [see(1, 0)] + [see(0, 0)] * 6
    plans, trend = steps(GROWS, Trend(2), looks, every=10)
    assert (trend.target, plans) == (2, [Plan()] * 13)


def test_one_that_was_about_to_go_stays_when_rows_pile_up():
    trend = Trend(1, busy=2, retiring={"reward-1": 0.0})
    plan, trend = decide(GROWS, trend, see(50, 0), 5.0)
    assert (plan, trend.target, dict(trend.retiring)) == (Plan(), 2, {})


def test_without_a_drain_nobody_ends_who_is_not_retiring():
    plan, _ = decide(Policy(1, 2, drain_seconds=0), Trend(2), see(0, 0), 5.0)
    assert plan == Plan()
