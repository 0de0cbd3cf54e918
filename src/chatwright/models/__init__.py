"""Model families: one file each, named after the `model_type` of its `config.json`."""

SHARED = ("attention", "cache", "protocol", "device")
