"""OpenRLHF 0.11.2's own rollout code around a toy engine, and real reward actors without a cluster."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from random import Random

import uvicorn
from openrlhf.trainer.ray.vllm_engine import RolloutRayActor, _load_agent_executor
from openrlhf.utils.agent import SingleTurnAgentExecutor
from transformers import AutoTokenizer
from vllm import SamplingParams
from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput, RequestOutput

from persona_rm.backends.base import Backends
from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import PersonaRMError, ScoreError
from persona_rm.hosts.common import where
from persona_rm.hosts.openrlhf.routes import GET_REWARD
from persona_rm.serving import client
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.serving.http.application import make_app
from persona_rm.serving.http.service import ActorService
from persona_rm.serving.http.settings import Settings
from persona_rm.types import Persona

PEOPLE = 24
HOST = RolloutRayActor.__ray_metadata__.modified_class
"""The host's rollout actor before Ray wrapped it."""
TOKENIZER = AutoTokenizer.from_pretrained(str(files("persona_rm") / "assets" / "simulator_lm"))
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def params(max_tokens: int | None = 64, logprobs: int | None = 1) -> SamplingParams:
    """As `SamplesGenerator` makes them."""
    return SamplingParams(max_tokens=max_tokens, min_tokens=1, skip_special_tokens=False, logprobs=logprobs)


class Engine:
    """In place of `vllm.AsyncLLMEngine`: says the tokens of `answer`, in vLLM's classes, a part first."""

    def __init__(self, answer: Callable[[list[int]], list[int]], tokenizer=TOKENIZER) -> None:
        self.answer, self.running, self.output_processor, self.tokenizer = answer, 0, self, tokenizer
        self.prompts: list[list[int]] = []

    def get_num_unfinished_requests(self) -> int:
        return self.running

    async def generate(self, prompt, sampling_params, request_id):
        asked = prompt["prompt_token_ids"]
        self.prompts.append(asked)
        self.running += 1
        ids = self.answer(asked)[: sampling_params.max_tokens]
        await asyncio.sleep((len(self.prompts) * 7 % 5) / 1000)
        for part in (ids[:1], ids):
            yield self._output(request_id, asked, part, part is ids)
        self.running -= 1

    def _output(self, name, asked, ids, done):
        reason = ("stop" if ids[-1:] == [self.tokenizer.eos_token_id] else "length") if done else None
        logprobs = [{i: Logprob(-0.5), i + 1: Logprob(-1.5)} for i in ids]
        text = self.tokenizer.decode(ids)
        said = CompletionOutput(0, text, ids, -0.5 * len(ids), logprobs, finish_reason=reason)
        return RequestOutput(name, None, asked, None, [said], finished=done)


def answering(texts: Iterator[str]) -> Engine:
    """An engine that says the next text to whoever asks, and ends."""
    return Engine(lambda _prompt: [*tokens(next(texts)), TOKENIZER.eos_token_id])


def tokens(text: str) -> list[int]:
    ids: list[int] = TOKENIZER(text=text, add_special_tokens=False)["input_ids"]
    return ids


def rollout(engine: Engine, door: str, url: str = ""):
    """The host's rollout actor, with the executor that its own loaders make for this door; no engine is started."""
    actor = object.__new__(HOST)
    actor.llm, actor._mm_pad_token_ids = engine, None
    if door == "agent":
        actor.executor = _load_agent_executor(str(where("openrlhf", "agent")))
    else:
        actor.executor = SingleTurnAgentExecutor(url or str(where("openrlhf", "reward")))
    return actor


def generate(actor, rows, *, samples: int = 1, threads: int = 6, **keys) -> list[dict]:
    """The host's outputs of (prompt, label) rows, all under way at once; `threads` is what asyncio would have."""
    limits = {"sampling_params": params(), "max_length": 512, "hf_tokenizer": TOKENIZER, **keys}

    async def main():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
        work = [actor.generate_responses(prompt, label, num_samples=samples, **limits) for prompt, label in rows]
        return [output for outputs in await asyncio.gather(*work) for output in outputs]

    return asyncio.run(main())


class Levels:
    """Intensities by the hash of prompt and text: another prompt or text has another reward."""

    def levels(self, prompts, texts):
        pairs = [f"{prompt}\x1f{text}".encode() for prompt, text in zip(prompts, texts, strict=True)]
        return [tuple(1 + byte % 3 for byte in hashlib.shake_128(pair).digest(90)) for pair in pairs]


def write_users(folder: Path, space) -> Path:
    """p0, p1, ... with directions of their own, in two groups; sums of random weights do not agree by chance."""
    weights = {name: round(Random(name).uniform(0.5, 1.5), 6) for name in space.ids}
    people = [
        User(Persona(f"p{i}", directions=tuple(Random(i).choices([-1, 0, 1], k=len(space)))), ("cats", "dogs")[i % 2])
        for i in range(PEOPLE)
    ]
    return write_bundle(folder, people, method={"name": "pba_linear", "scale": 0.1, "weights": weights})


def read(folder: Path):
    """The bundle, read by `Levels`."""
    return with_levels(load_bundle(folder))


def with_levels(bundle):
    bundle.__dict__["_backends"] = Backends(reader=Levels())
    return bundle


def make_actor(folder: Path, name: str = "reward-0") -> RewardActor:
    actor = RewardActor(str(folder), name)
    with_levels(actor.bundle)
    return actor


class Local:
    """A transport to real reward actors, in an event loop of another thread as Ray runs them."""

    def __init__(self, folder: Path, n: int = 2, make: Callable[[Path, str], RewardActor] = make_actor) -> None:
        self.actors = {f"reward-{i}": make(folder, f"reward-{i}") for i in range(n)}
        self.loop, self.requests = asyncio.new_event_loop(), []
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        async def end() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def names(self) -> list[str]:
        return list(self.actors)

    def inference(self) -> str | None:
        return None

    def call(self, name, method, args, timeout):
        if method == "score_batch":
            self.requests.extend(args[0])
        work = asyncio.run_coroutine_threadsafe(getattr(self.actors[name], method)(*args), self.loop)
        try:
            return work.result(timeout)
        except TooLate as error:
            raise client.Unreachable(name) from error
        except PersonaRMError as error:
            raise ScoreError(str(error)) from error


@contextmanager
def face(folder: Path) -> Iterator[str]:
    """The address of the HTTP face over a real reward actor."""
    service = ActorService(lambda: make_actor(folder))
    config = uvicorn.Config(make_app(service, Settings(), [GET_REWARD]), port=0, log_level="error")
    server = uvicorn.Server(config)

    async def main():
        await service.open()
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/get_reward"
    finally:
        server.should_exit = True
        thread.join(10)
