"""Small JSON files that this library writes for itself: settings of a saved method, say."""

import json
from pathlib import Path
from typing import Any

from persona_rm.errors import DataError
from persona_rm.io.json_rows import need_file


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `DataError` if the file is missing, cut, or holds anything else."""
    try:
        value = json.loads(need_file(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON, so the file is damaged ({error}); write it again", file=path) from error
    if not isinstance(value, dict):
        raise DataError(f"must be a JSON object, found {type(value).__name__}; write it again", file=path)
    return value
