"""Fine-tuning speed: `chatwright sft` beside trl's SFTTrainer, the same model and rows, each in its own process.

    python benchmarks/sft.py instructions.json [--rounds 3] [--steps 8] [--quick] [--json]

A GPT-2 124M with random weights (made by transformers from a seed), rows with instruction, input and output, the
Alpaca layout, windows of 256 tokens, 4 rows a batch. Counted are real tokens, not padding, from the end of one step to
the end of the next, the first two left out; medians over rounds taken in turn. Needs the extra `dev` (with trl)
and, in CHATWRIGHT_TEST_DATA or beside the rows, gpt2-encoder.json and gpt2-vocab.bpe.
"""

from _sft import Way, main

WAYS = {
    "chatwright": Way("chatwright sft", True),
    "trl": Way("trl SFTTrainer as shipped", False),
    "trl-bf16": Way("trl SFTTrainer, bf16, no checkpointing", False, {"bf16": True, "gradient_checkpointing": False}),
}

if __name__ == "__main__":
    main(WAYS, __doc__, __file__)
