"""LoRA: `chatwright sft --lora.rank 8` beside trl with PEFT, the same model, rows and matrices, each in its own process.

    python benchmarks/lora.py instructions.json [--rounds 3] [--steps 8] [--quick] [--json]

A GPT-2 124M with random weights, rank 8 on the attention's matrix (c_attn) and on all matrices of the blocks, bf16
arithmetic, no checkpointing. Otherwise as benchmarks/sft.py: real tokens a second, medians over rounds taken in turn.
"""

from typing import Any

from _sft import Way, main

BF16 = {"bf16": True, "gradient_checkpointing": False}


def peft(*targets: str) -> dict[str, Any]:
    """PEFT's LoraConfig for these matrices."""
    fixed = {"r": 8, "lora_alpha": 16, "fan_in_fan_out": True, "task_type": "CAUSAL_LM"}
    return {"peft": {**fixed, "target_modules": list(targets)}}


ALL = ("c_attn", "c_proj", "c_fc")
HALF = {"weights": "bfloat16"}  # the base held in bf16, as ours is
WAYS = {
    "chatwright": Way("chatwright, c_attn", True, {"lora": {"rank": 8, "targets": ["c_attn"]}}),
    "peft": Way("trl + peft, c_attn", False, {**BF16, **peft("c_attn")}),
    "peft-bf16": Way("trl + peft, c_attn, base in bf16", False, {**BF16, **peft("c_attn"), **HALF}),
    "chatwright-all": Way("chatwright, all matrices", True, {"lora": {"rank": 8}}),
    "peft-all": Way("trl + peft, all matrices", False, {**BF16, **peft(*ALL)}, "chatwright-all"),
    "peft-all-bf16": Way(
        "trl + peft, all matrices, base in bf16", False, {**BF16, **peft(*ALL), **HALF}, "chatwright-all"
    ),
}

if __name__ == "__main__":
    main(WAYS, __doc__, __file__)
