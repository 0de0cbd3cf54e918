"""The one format on disk: where a model lies, its weights, its text half, its adapters, and the Checkpoint of all."""

from chatwright.checkpoint.files import read_json
from chatwright.checkpoint.model import Checkpoint, LoadIn
from chatwright.checkpoint.places import checkpoints, find, newest_checkpoint, step_of
from chatwright.checkpoint.texts import load_text, load_tokenizer
from chatwright.checkpoint.weights import read_config, read_weights

__all__ = [
    "Checkpoint",
    "LoadIn",
    "checkpoints",
    "find",
    "load_text",
    "load_tokenizer",
    "newest_checkpoint",
    "read_config",
    "read_json",
    "read_weights",
    "step_of",
]
