"""The shapes of rows that are recognised: one small file each, found by its name."""

SHARED = ("fields", "pairs", "trees", "turns")
