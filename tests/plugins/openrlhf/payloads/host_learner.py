"""What OpenRLHF 0.11.2 makes of a rollout's outputs, by its own code: samples, batches, advantages."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import torch

from persona_rm.hosts.common import where
from tests.plugins.openrlhf.payloads.host_samples import TOKENIZER


@contextmanager
def learner() -> Iterator[SimpleNamespace]:
    """What the host does with the outputs, for real; flash-attn, which has no CPU build, is the rehearsal's stub."""
    stubs = str(where("openrlhf", "rehearsal") / "stubs")
    sys.path.insert(0, stubs)
    try:
        from openrlhf.trainer.ppo_utils import experience, experience_maker, samples_generator
        from openrlhf.trainer.ppo_utils.kl_controller import FixedKLController

        yield SimpleNamespace(
            experience=experience, maker=experience_maker.RemoteExperienceMaker, kl=FixedKLController(0.0),
            generator=samples_generator.SamplesGenerator,
        )  # fmt: skip
    finally:
        sys.path.remove(stubs)
        for name in [name for name in sys.modules if name.partition(".")[0] == "flash_attn"]:
            del sys.modules[name]


def job(estimator: str = "rloo", samples: int = 2, **rollout_keys) -> SimpleNamespace:
    """The host's arguments, as far as its rollout and its experience maker read them."""
    advantage = {"estimator": estimator, "gamma": 1.0, "no_std_norm": True, "is_correction_level": "token"}
    algo = SimpleNamespace(
        dynamic_filtering_enable=False, kl=SimpleNamespace(use_loss=False), advantage=SimpleNamespace(**advantage)
    )
    rollout_part = SimpleNamespace(
        n_samples_per_prompt=samples, micro_batch_size=4, vllm_generate_batch_size=None, **rollout_keys
    )
    return SimpleNamespace(
        algo=algo, rollout=rollout_part, reward=SimpleNamespace(clip_range=(-10.0, 10.0)),
        vllm=SimpleNamespace(enable_sleep=False), train=SimpleNamespace(dynamic_batch_enable=False),
    )  # fmt: skip


def samples_of(host, outputs):
    make = object.__new__(host.generator)._process_response_into_experience
    return [make(output, max_len=512) for output in outputs]


def advantages(host, samples, estimator):
    """Batches with returns, by the host's own maker; the models' part (log-probabilities, KL) is left out."""
    maker, args = object.__new__(host.maker), job(estimator)
    maker.args, maker.strategy, maker.tokenizer = args, SimpleNamespace(args=args), TOKENIZER
    maker.advantage_estimator, maker.kl_ctl = estimator, host.kl
    batches = maker.split_rollout_samples(samples)
    for batch in batches:
        batch.kl = torch.zeros(batch.action_mask.shape)
    return maker.compute_advantages_and_returns(batches)


def whole(batches, read_one):
    return torch.cat([read_one(batch).flatten() for batch in batches]).tolist()


def last_return(batch):
    """The return at the last token of each answer."""
    ends = batch.action_mask.shape[1] - 1 - batch.action_mask.flip(1).argmax(1)
    return batch.returns.gather(1, ends.unsqueeze(1))


def spoken(sample):
    ids = sample.sequences[0, 1:][sample.action_mask[0].bool()]
    return TOKENIZER.decode(ids, skip_special_tokens=True)
