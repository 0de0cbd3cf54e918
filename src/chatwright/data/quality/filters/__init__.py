"""What can be left out of some data: one small file each, found by its name. `seen.Filter` says what is in it."""
