"""How long the texts of a request may be. Lengths are compared before a text is tokenised, because tokenising 16 MB
takes minutes and gigabytes, and nothing of it would be scored."""

from pydantic import Field

from persona_rm.config import Config
from persona_rm.errors import ScoreError
from persona_rm.types import Prompt, RewardRequest, text_of

CHARACTERS = 200_000
"""About 50,000 tokens of English, which the encoder tokenises in a fifth of a second."""


class TextLimits(Config):
    """`limits` of bundle.yaml, in characters. A text above a limit is refused: the reward of its beginning would be
    another text's reward. The limit in tokens, for a bundle with a `policy`, is `engine_options.max_length`."""

    prompt: int = Field(CHARACTERS, ge=1)
    """Characters of a prompt, all its turns together."""
    response: int = Field(CHARACTERS, ge=1)
    """Characters of a response."""

    def check(self, request: RewardRequest) -> None:
        """Raises `ScoreError` with the length, the limit and the setting for a request that is too long."""
        self.check_prompt(request.prompt)
        self.check_response(len(request.response))

    def check_prompt(self, prompt: Prompt) -> None:
        """Raises `ScoreError` as `check` does."""
        _check("prompt", len(text_of(prompt)), self.prompt)

    def check_response(self, length: int) -> None:
        """Raises `ScoreError` as `check` does, for a response of so many characters."""
        _check("response", length, self.response)


def _check(key: str, length: int, limit: int) -> None:
    if length > limit:
        cause = (
            f"the {key} has {length:,} characters, and the limit is {limit:,}: shorten it, or raise limits.{key} in "
            "bundle.yaml"
        )
        raise ScoreError(cause, kind="too_long", cause=cause)
