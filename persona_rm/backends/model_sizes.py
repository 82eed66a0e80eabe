"""What a model's config asks for, compared with what its weights hold, before memory is taken for it.

A bundle may come from elsewhere. A config with a million layers would take the memory of the machine while the network
is built, and only then would its weights be found missing.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from persona_rm.errors import DataError

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
WIDTHS = (
    "hidden_size", "n_embd", "d_model", "vocab_size", "intermediate_size", "n_inner", "d_ff", "moe_intermediate_size",
    "num_experts", "num_local_experts", "n_routed_experts", "num_attention_heads", "num_key_value_heads", "n_head",
)  # fmt: skip
LARGEST_HEADER = 100 << 20
"""Bytes of the longest header of a safetensors file, as the format itself bounds it."""
LARGEST_CONFIG = 8 << 20
PACKED = 16
"""A quantised tensor holds at most so many values in one element (of eight bytes, at four bits each)."""
LAYER = re.compile(r"\.(\d+)\.")


def check_sizes(folder: Path) -> None:
    """Raises `DataError` if config.json in the folder asks for more layers than the weights hold, or for a width or a
    number of heads or experts above the largest dimension or number of any of its tensors.

    Weights in another format than safetensors have no header that could be read without loading them; for them the
    size of the files is the bound. A folder without config or weights is left to the loader, which names what is
    missing.
    """
    path = folder / "config.json"
    tensors = list(_tensors(folder))
    size = sum(file.stat().st_size for kind in ("*.safetensors", "*.bin", "*.pt") for file in folder.glob(kind))
    if not path.is_file() or not size:
        return
    if path.stat().st_size > LARGEST_CONFIG:
        raise DataError(f"a config has at most {LARGEST_CONFIG:,} bytes", file=path)
    layers = max((int(n) + 1 for name, _ in tensors for n in LAYER.findall(name)), default=None)
    widest = max((dim for _, shape in tensors for dim in shape), default=None)
    for key, value in _numbers(_read(path)):
        # Without a header each layer and each unit of width needs at least one byte of the files.
        limit = layers if key in LAYERS else widest * PACKED if widest is not None else None
        if value > (size if limit is None else limit):
            held = f"have {size:,} bytes"
            if tensors:
                held = f"hold {layers} layers" if key in LAYERS else f"have no dimension above {widest}"
            problem = f"asks for {value:,}, and the weights {held}: config and weights are not of one model"
            raise DataError(problem, file=path, key=key)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", file=path) from error


def _numbers(config: Any) -> Iterator[tuple[str, int]]:
    """The sizes in a config and in the configs inside it."""
    if not isinstance(config, Mapping):
        return
    for key, value in config.items():
        if key in (*LAYERS, *WIDTHS) and isinstance(value, int) and not isinstance(value, bool):
            yield key, value
        else:
            yield from _numbers(value)


def _tensors(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Name and shape of each tensor, from the headers of safetensors files. Raises `DataError` for a bad header."""
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(LARGEST_HEADER, file.stat().st_size):
                raise DataError("damaged: its header is longer than the file, or than the format allows", file=file)
            try:
                header = json.loads(stream.read(length))
                yield from (
                    (name, [int(n) for n in about["shape"]])
                    for name, about in header.items()
                    if name != "__metadata__"
                )
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise DataError("damaged: its header is no list of tensors", file=file) from error
