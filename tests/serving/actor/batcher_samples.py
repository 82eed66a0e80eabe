"""A scorer that waits at a gate, and short words for many calls at once."""

import asyncio
import threading


def gather(batcher, items):
    async def main():
        return await asyncio.gather(*[batcher.submit(item) for item in items], return_exceptions=True)

    return asyncio.run(asyncio.wait_for(main(), 20))


class Gate:
    """A scorer that waits until it may go on, and remembers its calls."""

    def __init__(self, score=lambda items: [2 * item for item in items]):
        self.open, self.calls, self.score = threading.Event(), [], score

    def __call__(self, items):
        self.calls.append(list(items))
        assert self.open.wait(10)
        return self.score(items)

    async def entered(self, n=1):
        while len(self.calls) < n:
            await asyncio.sleep(0.001)


def run(main):
    return asyncio.run(asyncio.wait_for(main, 20))


def tasks(batcher, items, **how):
    return [asyncio.create_task(batcher.submit(item, **how)) for item in items]


def ends(*calls):
    return asyncio.gather(*calls, return_exceptions=True)


def double(items):
    return [2 * item for item in items]
