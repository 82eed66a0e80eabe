"""Random arrivals, costs, failures, cancellations, deadlines and callers, on a clock that jumps: no example waits."""

import asyncio
import gc
from concurrent import futures
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.errors import ScoreError
from persona_rm.serving.actor.batcher import Full, Late, MicroBatcher

CALM = settings(deadline=None, max_examples=150, database=None)


class Jumping(asyncio.SelectorEventLoop):
    """Where real loops sleep, this one sets its clock forward; where nothing is left to wait for, it says so."""

    def __init__(self):
        super().__init__()
        self.now, look = 0.0, self._selector.select

        def select(timeout):
            if (events := look(0)) or timeout == 0:
                return events
            assert timeout is not None, "somebody waits for ever"
            self.now += timeout
            return []

        self._selector.select = select

    def time(self):
        return self.now


class Thread:
    """An executor on the loop's clock: a call takes `seconds` and ends at the end of them."""

    def __init__(self, seconds):
        self.seconds = seconds

    def submit(self, call, items):
        done = futures.Future()
        asyncio.get_running_loop().call_later(self.seconds, self.run, done, call, items)
        return done

    def run(self, done, call, items):
        try:
            done.set_result(call(items))
        except BaseException as error:  # noqa: BLE001 - as a real executor does
            done.set_exception(error)

    def shutdown(self, wait):
        pass


class BadError(Exception):
    """Of the item that it names."""


@dataclass
class Request:
    at: int
    item: int
    caller: str
    deadline: float | None
    leave: float | None
    wait: bool
    ended: float = 0.0
    outcome: object = None


@dataclass
class Setup:
    seconds: float
    max_rows: int
    max_cost: int | None
    max_wait: float
    limit: int
    shares: bool
    bad: dict
    grouped: bool = True
    calls: list = field(default_factory=list)

    def cost(self, item):
        return 1 + item % 5

    def score(self, items):
        now = asyncio.get_running_loop().time()
        self.calls.append((now - self.seconds, now, items))
        if named := [i for i, item in enumerate(items) if self.bad.get(item) == "named"]:
            raise ScoreError("named", tuple(named))
        for item in items:
            if kind := self.bad.get(item):
                raise {"error": BadError(item), "exit": SystemExit(item), "stop": StopIteration(item)}[kind]
        return [10 * item for item in items]

    def batcher(self):
        """A batcher on this clock."""
        more = {} if self.shares else {"same": None}
        budget = {"cost": self.cost, "max_cost": self.max_cost, "limit": self.limit}
        budget["group"] = (lambda item: item // 4) if self.grouped else None
        made = MicroBatcher(self.score, self.max_rows, self.max_wait, **budget, **more)
        made._thread.shutdown()
        made._thread = Thread(self.seconds)
        return made


QUARTERS = st.integers(0, 16).map(lambda quarter: quarter / 4)
REQUESTS = st.lists(
    st.builds(
        Request,
        at=st.integers(0, 4),
        item=st.integers(0, 11),
        caller=st.sampled_from("abc"),
        deadline=st.none() | QUARTERS,
        leave=st.none() | QUARTERS,
        wait=st.booleans(),
    ),
    min_size=1,
    max_size=30,
)
SETUPS = st.builds(
    Setup,
    seconds=st.sampled_from([0.5, 1.25, 3.0, 0.0]),
    max_rows=st.integers(1, 6),
    max_cost=st.none() | st.integers(1, 9),
    max_wait=st.sampled_from([0.0, 0.25, 2.0]),
    limit=st.sampled_from([1, 1, 2, 3, 100]),
    shares=st.booleans(),
    bad=st.dictionaries(st.integers(0, 11), st.sampled_from(["named", "error", "exit", "stop"]), max_size=4),
)


async def play(batcher, limit, request):
    """One caller: comes, perhaps leaves, and notes how and when its call ended."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(request.at)
    work = batcher.submit(request.item, caller=request.caller, deadline=request.deadline, wait=request.wait)
    task = asyncio.ensure_future(work)
    if request.leave is not None:
        loop.call_later(request.leave, task.cancel)
    try:
        outcome = await task
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is looked at below
        outcome = error
    assert request.outcome is None
    request.outcome, request.ended = outcome, loop.time()
    assert batcher.waiting <= limit


def run(setup, requests):
    """What the batcher knows in the end."""
    batcher = setup.batcher()

    async def main():
        await asyncio.wait([asyncio.create_task(play(batcher, setup.limit, request)) for request in requests])
        await asyncio.sleep(10 * setup.seconds)

    jump(main())
    return batcher


def jump(main):
    loop, troubles = Jumping(), []
    loop.set_exception_handler(lambda _loop, context: troubles.append(context["message"]))
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
    gc.collect(0)
    assert troubles == []


def fits(request, bad):
    """Is this an end that this request may have?"""
    outcome, kind = request.outcome, bad.get(request.item)
    if isinstance(outcome, asyncio.CancelledError):
        return request.leave is not None
    if isinstance(outcome, Late):
        return request.deadline is not None and request.ended == request.at + request.deadline
    if isinstance(outcome, Full):
        return not request.wait and request.ended == request.at
    if kind is None:
        return outcome == 10 * request.item
    if kind == "error":
        return isinstance(outcome, BadError) and outcome.args == (request.item,)
    told = {"named": "named", "exit": "SystemExit", "stop": "StopIteration"}[kind]
    return isinstance(outcome, ScoreError) and told in str(outcome)


@CALM
@given(SETUPS, REQUESTS)
def test_every_call_ends_once_with_its_own_result_or_error(setup, requests):
    batcher = run(setup, requests)
    assert [request for request in requests if not fits(request, setup.bad)] == []
    limits = [r for r in requests if r.deadline is not None]
    assert all(r.ended <= r.at + r.deadline for r in limits)
    assert (batcher.waiting, batcher.outside, batcher._retries, batcher._running, batcher._by_key) == (
        0,
        0,
        [],
        [],
        {},
    )


@CALM
@given(SETUPS, REQUESTS)
def test_the_counters_add_up(setup, requests):
    """A call may be cancelled at the moment at which it ends, or before it began: then it counts as either."""
    counts = run(setup, requests).counts
    kinds = [type(request.outcome) for request in requests]
    late, gone = kinds.count(Late), kinds.count(asyncio.CancelledError)
    answered = len(requests) - kinds.count(Full) - late - gone
    assert counts["full"] == kinds.count(Full)
    assert late <= counts["late"] <= late + gone
    assert answered + counts["late"] + counts["left"] <= counts["submitted"] <= answered + late + gone
    assert counts["scored"] + counts["failed"] <= counts["submitted"] - counts["shared"]
    assert counts["batches"] == len(setup.calls)


@CALM
@given(SETUPS, REQUESTS)
def test_no_batch_is_larger_than_its_budget_and_two_never_run_at_once(setup, requests):
    run(setup, requests)
    for _, _, items in setup.calls:
        assert 1 <= len(items) <= setup.max_rows
        assert len(items) == 1 or sum(map(setup.cost, items)) <= (setup.max_cost or 10**9)
    assert all(before[1] <= after[0] for before, after in pairwise(setup.calls))


@CALM
@given(SETUPS, REQUESTS)
def test_nothing_is_scored_that_nobody_waits_for(setup, requests):
    run(setup, requests)
    for began, _, items in setup.calls:
        waiting = [r.item for r in requests if r.at <= began <= r.ended and not isinstance(r.outcome, Full)]
        assert set(items) <= set(waiting)
        if not setup.shares:
            assert all(items.count(item) <= waiting.count(item) for item in items)


@CALM
@given(SETUPS, REQUESTS)
def test_equal_requests_are_computed_once(setup, requests):
    """Who comes while an equal one waits or is scored is answered with it: at the same moment."""
    setup.shares, setup.bad = True, {}
    run(setup, requests)
    for _, ended, items in setup.calls:
        assert len(set(items)) == len(items)
        for item in items:
            same = [r for r in requests if r.item == item and r.outcome == 10 * item]
            assert not [r for r in same if r.at < ended < r.ended]


@CALM
@given(REQUESTS, st.integers(1, 6))
def test_without_limits_all_are_scored_in_the_order_of_their_caller(requests, max_rows):
    requests = [Request(0, item, r.caller, None, None, True) for item, r in enumerate(requests)]
    setup = Setup(1.0, max_rows, None, 0.5, 1000, True, {}, grouped=False)
    run(setup, requests)
    order = [item for _, _, items in setup.calls for item in items]
    assert sorted(order) == list(range(len(requests)))
    assert all(len(items) == max_rows for _, _, items in setup.calls[:-1])
    for caller in "abc":
        mine = [item for item in order if requests[item].caller == caller]
        assert mine == sorted(mine)


def test_a_batch_waits_for_its_first_row_also_when_an_earlier_one_left():
    setup = Setup(1.0, 8, None, 2.0, 100, True, {})
    requests = [Request(0, 1, "a", None, 0.5, True), Request(1, 2, "a", None, None, True)]
    run(setup, requests)
    assert setup.calls == [(3.0, 4.0, [2])]


def test_a_caller_that_leaves_at_the_moment_its_batch_begins_is_not_scored():
    setup = Setup(1.0, 8, None, 2.0, 100, True, {})
    run(setup, [Request(0, 1, "a", None, 2.0, True)])
    assert setup.calls == []


def test_a_row_that_lost_its_caller_while_its_batch_failed_is_not_scored_again():
    setup = Setup(1.0, 8, None, 0.0, 100, True, {1: "named"})
    run(setup, [Request(0, 1, "a", None, None, True), Request(0, 2, "a", None, 0.5, True)])
    assert setup.calls == [(0.0, 1.0, [1, 2])]


def test_who_waits_for_room_gets_it_when_somebody_leaves():
    setup = Setup(1.0, 1, None, 0.0, 1, True, {})
    left = [Request(0, 1, "a", 0.5, None, True), Request(0, 2, "a", 0.5, None, True)]
    run(setup, [Request(0, 0, "a", None, None, True), *left, Request(0, 3, "a", None, None, True)])
    assert [items for _, _, items in setup.calls] == [[0], [3]]


def test_an_error_that_nobody_took_is_no_trouble_of_the_loop():
    """Late and cancelled in the same moment."""
    setup = Setup(1.0, 1, None, 0.0, 1, True, {})
    batcher = setup.batcher()

    async def main():
        task = asyncio.create_task(batcher.submit(1, deadline=0.5))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.5, task.cancel)
        await asyncio.wait([task])
        await asyncio.sleep(2)

    jump(main())
    assert batcher.counts["late"] == 1
