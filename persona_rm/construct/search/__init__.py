"""Search for personas: an index of every response on one side of the split, and exact similarity over it."""

from persona_rm.extras import require

require("construction", "pyarrow")
