"""Products and attention for a few rows on a processor: one C source, compiled where it runs, and what replaces it.

`products.py` and `looking.py` are what models call; `plain.py` says in PyTorch what each function computes.
"""
