"""An encoder and a language model that need no weights."""

import hashlib
import json
import math

import numpy as np

from persona_rm.backends.base import Generation


class Flat:
    """An encoder that needs no model."""

    def encode(self, texts):
        rows = [np.random.default_rng(sum(text.encode())).normal(size=16) for text in texts]
        vectors = np.array(rows, np.float32).reshape(len(texts), 16)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Hashed:
    """A language model whose answers depend on the prompt's hash and keep to choices and schema."""

    def __init__(self):
        self.asked = []

    def generate(self, prompts, *, max_tokens, schema=None, choices=None):
        self.asked += prompts
        return [self.answer(prompt, schema, choices) for prompt in prompts]

    def answer(self, prompt, schema, choices):
        draws = hashlib.sha256(prompt.encode()).digest()
        if choices:
            text = choices[draws[0] % len(choices)]
        elif schema["type"] == "object":
            codes = next(iter(schema["properties"].values()))["enum"]
            text = json.dumps({str(1 + d % 90): codes[d % 2] for d in sorted({x % 90 for x in draws[:4]})})
        else:
            text = json.dumps([d + 1 if d % 2 else -d - 1 for d in sorted({x % 90 for x in draws[:4]})])
        return said(text, -0.1)


def said(text, logprob=None):
    """A generation of one character a token."""
    n = len(text)
    return Generation(text, (logprob,) * n if logprob is not None else None, tuple(text), 100, 40, n)


class Scripted:
    """Answers in turn what it was given: texts, or `Generation`s."""

    def __init__(self, *answers):
        self.answers, self.asked, self.options = list(answers), [], []

    def generate(self, prompts, **options):
        self.asked += prompts
        self.options.append(options)
        given = [self.answers.pop(0) for _ in prompts]
        return [said(answer, math.log(0.8)) if isinstance(answer, str) else answer for answer in given]
