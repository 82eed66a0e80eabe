"""Names that can be imported but not called, because packing needs the real flash-attn."""

from typing import Any, NoReturn

from einops import rearrange

__all__ = ["index_first_axis", "pad_input", "rearrange", "unpad_input"]


def _needs_flash_attn(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise RuntimeError("packed samples need flash-attn, which has no CPU build: leave ds.packing_samples off here")


index_first_axis = pad_input = unpad_input = _needs_flash_attn
