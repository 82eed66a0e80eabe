"""A real server with the API of OpenAI, whose answers a test writes."""

import asyncio
import threading

from aiohttp import web


def chat(text, **more):
    steps = [{"token": letter, "logprob": -0.5} for letter in text]
    usage = {"prompt_tokens": 7, "completion_tokens": len(text), "prompt_tokens_details": {"cached_tokens": 3}}
    choice = {"message": {"content": text}, "logprobs": {"content": steps}}
    return web.json_response({"choices": [choice], "usage": usage} | more)


class Server:
    """Answers each prompt by `script(prompt, n)`, n counting the tries of that prompt from 0."""

    def __init__(self, script):
        self.script, self.bodies, self.headers, self.tries, self.now, self.most = script, [], [], {}, 0, 0
        self.loop, ready = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=self.serve, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def serve(self, ready):
        asyncio.set_event_loop(self.loop)
        app = web.Application()
        app.router.add_post("/v1/{rest:.*}", self.handle)
        self.runner = web.AppRunner(app, handler_cancellation=True)
        self.loop.run_until_complete(self.runner.setup())
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        self.loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        self.loop.run_forever()

    async def handle(self, request):
        body = await request.json()
        self.bodies.append((request.path, body))
        self.headers.append(request.headers)
        prompt = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
        n = self.tries[prompt] = self.tries.get(prompt, -1) + 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            found = self.script(prompt, n)
            return await found(request) if callable(found) else found
        finally:
            self.now -= 1

    def stop(self):
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
