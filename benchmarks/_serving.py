"""What both servers of `benchmarks/serve.py` read: one GPT-2 124M with random weights, as each of them takes it.

Its vocabulary has 256 bytes and then words that no text becomes, one for each other id, all of which end in a dot: so
that every token that comes out can be counted in the text.
"""

import json
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from _generate import gguf_file

POSITIONS = 1024
END = "<|endoftext|>"


def words() -> list[str]:
    """The token of each id, as byte-level vocabularies spell them."""
    from chatwright.text import bpe

    single = [bpe.to_symbols(bytes([number])) for number in range(256)]
    dot = bpe.to_symbols("\N{MIDDLE DOT}".encode())
    return [*single, *(f"w{number}{dot}" for number in range(256, 50256)), END]


def save_model(folder: Path) -> None:
    """The folder that ours reads; no weight leads to a token of one byte or to the end, so that answers have a length."""
    import torch

    from chatwright.checkpoint import Checkpoint
    from chatwright.models.gpt2 import GPT2, GPT2Config
    from chatwright.text import template, tokenizer_json
    from chatwright.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    spelled = words()
    ids = {word: number for number, word in enumerate(spelled[:-1])}
    tokenizer = Tokenizer(tokenizer_json.write(tokenizer_json.byte_level(ids, [], {END: len(ids)})))
    model = GPT2(GPT2Config())
    with torch.no_grad():  # the head is tied: small rows have small logits, and a bias along one direction lifts others
        model.transformer.ln_f.bias.fill_(0.05)
        table = model.transformer.wte.weight
        table[256:-1] += 0.02
        table[:256] -= 0.02
        table[-1] -= 0.02
    made = folder / "made"
    Checkpoint(model, tokenizer, template.load("plain"), own_template=False).save(made)
    for file in made.iterdir():
        file.rename(folder / file.name)
    (folder / "words.json").write_text(json.dumps(spelled))


def peer_file(python: str, folder: Path, kind: str) -> Path:
    """The same for llama.cpp, written by its own environment, which has `gguf`."""
    file = folder / f"{kind}.gguf"
    if not file.exists():
        subprocess.run([python, __file__, str(folder), kind], check=True)
    return file


def add_words(folder: Path, writer: Any, config: dict[str, Any]) -> None:
    """The vocabulary, for `gguf_file`; one merge, of two words that no text has, because the format wants some."""
    import gguf

    spelled = json.loads((folder / "words.json").read_text())
    kinds = [gguf.TokenType.NORMAL] * (len(spelled) - 1) + [gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(spelled)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{spelled[300]} {spelled[301]}"])
    writer.add_eos_token_id(len(spelled) - 1)
    writer.add_bos_token_id(len(spelled) - 1)
    writer.add_add_bos_token(False)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    gguf_file(place, sys.argv[2], partial(add_words, place))
