"""How good some data is to learn from: what it repeats, gives away, loops on, and which rows to leave out for it."""
