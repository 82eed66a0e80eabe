"""What each stage of construction computes: rows in, rows out, without Ray and without the job's folders.

`construct.job` schedules these functions and classes. The key of a stage hashes the modules that they import
(`construct.job.stage_keys`), so nothing here may import `construct.job`, and settings are imported for type checking
only: the key holds them by value.
"""

from persona_rm.extras import require

require("construction", "pyarrow")
