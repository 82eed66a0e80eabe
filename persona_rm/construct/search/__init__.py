"""Search for personas: packed levels, an index of the responses of one side of the split, and exact similarity."""

from persona_rm.extras import require

require("construction", "pyarrow")
