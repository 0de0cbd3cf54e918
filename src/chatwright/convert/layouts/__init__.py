"""Layouts of old checkpoints, one file each: `recognises(old)`, `translate(old)`, the OPTIONS that it understands,
and whether it KEEPS_TEXTS: whether the folder's own template and generation settings go with the model.

`translate` raises DataError or ConfigError in one sentence for names, shapes, types or settings that do not fit.
"""

SHARED = ("old",)
