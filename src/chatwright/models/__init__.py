"""Model families: one file each, named after the `model_type` of its `config.json`; `MODEL` is its class."""

SHARED = (
    "activations",
    "attention",
    "cache",
    "config",
    "decoder",
    "device",
    "dropout",
    "inference",
    "kernels",
    "llama_config",
    "lora",
    "low_rank",
    "nf4",
    "protocol",
    "quant",
    "quick",
    "quick_blocks",
    "reward",
    "rope",
    "token_rows",
)
