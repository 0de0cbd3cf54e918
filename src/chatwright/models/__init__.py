"""Model families: one file each, named after the `model_type` of its `config.json`; `MODEL` is its class."""

SHARED = (
    "activations",
    "attention",
    "cache",
    "config",
    "decoder",
    "device",
    "dropout",
    "llama_config",
    "lora",
    "low_rank",
    "nf4",
    "protocol",
    "quant",
    "reward",
    "rope",
    "token_rows",
)
