"""The ways of `benchmarks/generate.py`: each makes tokens after prompts with one runtime, greedily, on one model folder.

A way is made in a process of its own and then asked, line by line, for rounds; what it imports is its own affair.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

Ids = list[list[int]]
Make = Callable[[Ids, int], None]  # prompts of one length, and how many tokens to add to each


def serve(way: str, folder: Path, threads: int) -> None:
    """Loads, then answers lines {"prompts": …, "new": …} with the seconds it took, until there are no more."""
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is none of the answers
    began = time.perf_counter()
    make = WAYS[way](folder, threads)
    loaded = time.perf_counter() - began
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.perf_counter()
        make(asked["prompts"], asked["new"])
        taken = time.perf_counter() - began
        talk.write(json.dumps({"seconds": taken, "peak": peak_memory(), "loaded": loaded}) + "\n")
        talk.flush()


def peak_memory() -> int:
    """Bytes; what the system tells of a process since it began its program, not of what it was copied from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def ours(load_in: str | None) -> Callable[[Path, int], Make]:
    """Our engine, as the terminal and the server use it, without what it remembers of earlier prompts."""

    def load(folder: Path, threads: int) -> Make:
        import torch

        from chatwright.checkpoint import Checkpoint
        from chatwright.generate.engine import Engine
        from chatwright.generate.sampling import Sampling
        from chatwright.models.inference import prepare

        torch.set_num_threads(threads)
        checkpoint = Checkpoint.load(folder, quiet=True, load_in=load_in)  # type: ignore[arg-type]
        prepare(checkpoint.model.eval())
        engine = Engine(checkpoint.model, checkpoint.tokenizer, ())

        def make(prompts: Ids, new: int) -> None:
            done = engine.generate(prompts, Sampling(max_tokens=new))
            assert all(len(one.ids) == new for one in done)

        return make

    return load


def transformers(precision: str) -> Callable[[Path, int], Make]:
    def load(folder: Path, threads: int) -> Make:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0

        def make(prompts: Ids, new: int) -> None:
            ids = torch.tensor(prompts)
            seen = torch.ones_like(ids)
            found = model.generate(ids, attention_mask=seen, max_new_tokens=new, min_new_tokens=new, do_sample=False)
            assert found.shape == (len(prompts), len(prompts[0]) + new)

        return make

    return load


def weights(folder: Path) -> dict[str, Any]:
    """The numbers of the model under GPT-2's names, without their `transformer.`."""
    from safetensors.numpy import load_file

    found = load_file(folder / "model.safetensors")
    return {name.removeprefix("transformer."): number for name, number in found.items()}


def llama_cpp(kind: str) -> Callable[[Path, int], Make]:
    def load(folder: Path, threads: int) -> Make:
        import llama_cpp as L
        import numpy as np

        file = made(gguf_file, folder, kind)
        L.llama_backend_init()
        model = L.llama_model_load_from_file(str(file).encode(), L.llama_model_default_params())
        size = json.loads((folder / "config.json").read_text())["vocab_size"]
        batch = L.llama_batch_init(1024, 0, 1)
        contexts: dict[int, Any] = {}

        def context(count: int) -> Any:
            if count not in contexts:
                asked = L.llama_context_default_params()
                asked.n_ctx, asked.n_batch, asked.n_ubatch, asked.n_seq_max = 1024 * count, 1024, 512, count
                asked.n_threads = asked.n_threads_batch = threads
                contexts[count] = L.llama_init_from_model(model, asked)
            return contexts[count]

        def read(here: Any, rows: list[tuple[int, int, int, bool]]) -> None:
            """Tokens with their places, sequences, and whether their logits are wanted."""
            batch.n_tokens = len(rows)
            for i, (token, place, sequence, wanted) in enumerate(rows):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, place, 1
                batch.seq_id[i][0], batch.logits[i] = sequence, wanted
            assert L.llama_decode(here, batch) == 0

        def likeliest(here: Any, place: int) -> int:
            return int(np.ctypeslib.as_array(L.llama_get_logits_ith(here, place), shape=(size,)).argmax())

        def make(prompts: Ids, new: int) -> None:
            here, length = context(len(prompts)), len(prompts[0])
            L.llama_memory_clear(L.llama_get_memory(here), True)
            rows = [(t, i, s, i == length - 1) for s, prompt in enumerate(prompts) for i, t in enumerate(prompt)]
            read(here, rows)
            last = [likeliest(here, (s + 1) * length - 1) for s in range(len(prompts))]
            for step in range(new - 1):
                read(here, [(token, length + step, s, True) for s, token in enumerate(last)])
                last = [likeliest(here, s) for s in range(len(prompts))]

        return make

    return load


def made(convert: Callable[[Path, str], Path], folder: Path, kind: str) -> Path:
    """What a process of its own converted, so that this one's memory is what answering takes."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(convert, folder, kind).result()


def no_vocabulary(writer: Any, config: dict[str, Any]) -> None:
    """Ids come and go."""
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])


def gguf_file(folder: Path, kind: str, vocabulary: Callable[[Any, dict[str, Any]], None] = no_vocabulary) -> Path:
    """The model as llama.cpp takes it, its matrices in one of its types; `vocabulary` writes that."""
    import gguf
    import numpy as np

    file = folder / f"{kind}.gguf"
    if file.exists():
        return file
    config, found = json.loads((folder / "config.json").read_text()), weights(folder)
    inside = gguf.GGMLQuantizationType[kind.upper()]
    writer = gguf.GGUFWriter(str(file), "gpt2")
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    vocabulary(writer, config)
    writer.add_file_type(gguf.LlamaFileType[{"f32": "ALL_F32"}.get(kind, f"MOSTLY_{kind.upper()}")])

    def add(name: str, numbers: Any, narrow: bool) -> None:
        numbers = np.ascontiguousarray(numbers, dtype=np.float32)
        if narrow and kind != "f32":
            writer.add_tensor(name, gguf.quants.quantize(numbers, inside), raw_dtype=inside)
        else:
            writer.add_tensor(name, numbers)

    add("token_embd.weight", found["wte.weight"], True)
    add("position_embd.weight", found["wpe.weight"], False)
    norms, matrices = {"ln_1": "attn_norm", "ln_2": "ffn_norm"}, {
        "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    }  # fmt: skip
    for part in ("weight", "bias"):
        add(f"output_norm.{part}", found[f"ln_f.{part}"], False)
        for layer in range(config["n_layer"]):
            for ours, theirs in norms.items():
                add(f"blk.{layer}.{theirs}.{part}", found[f"h.{layer}.{ours}.{part}"], False)
            for ours, theirs in matrices.items():
                numbers = found[f"h.{layer}.{ours}.{part}"]
                add(f"blk.{layer}.{theirs}.{part}", numbers.T, part == "weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def ctranslate2(kind: str) -> Callable[[Path, int], Make]:
    def load(folder: Path, threads: int) -> Make:
        import ctranslate2 as ct2

        place = made(ctranslate2_folder, folder, kind)
        generator = ct2.Generator(str(place), device="cpu", compute_type=kind, inter_threads=1, intra_threads=threads)

        def make(prompts: Ids, new: int) -> None:
            done = generator.generate_batch(
                [[f"t{token}" for token in prompt] for prompt in prompts],
                max_length=new, min_length=new, sampling_topk=1, beam_size=1, include_prompt_in_result=False,
            )  # fmt: skip
            assert all(len(one.sequences_ids[0]) == new for one in done)

        return make

    return load


def ctranslate2_folder(folder: Path, kind: str) -> Path:
    """The model as CTranslate2 takes it; its tokens are called t0, t1 …"""
    from ctranslate2.specs import common_spec, transformer_spec

    place = folder / f"ctranslate2-{kind}"
    if place.exists():
        return place
    config, found = json.loads((folder / "config.json").read_text()), weights(folder)
    gelu = common_spec.Activation.GELUTanh
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        config["n_layer"], config["n_head"], pre_norm=True, activation=gelu
    )

    def norm(to: Any, name: str) -> None:
        to.gamma, to.beta = found[f"{name}.weight"], found[f"{name}.bias"]

    def linear(to: Any, name: str) -> None:
        to.weight, to.bias = found[f"{name}.weight"].T.copy(), found[f"{name}.bias"]

    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight, decoder.projection.weight = found["wte.weight"], found["wte.weight"]
    decoder.position_encodings.encodings = found["wpe.weight"]
    norm(decoder.layer_norm, "ln_f")
    for number, layer in enumerate(decoder.layer):
        norm(layer.self_attention.layer_norm, f"h.{number}.ln_1")
        linear(layer.self_attention.linear[0], f"h.{number}.attn.c_attn")
        linear(layer.self_attention.linear[1], f"h.{number}.attn.c_proj")
        norm(layer.ffn.layer_norm, f"h.{number}.ln_2")
        linear(layer.ffn.linear_0, f"h.{number}.mlp.c_fc")
        linear(layer.ffn.linear_1, f"h.{number}.mlp.c_proj")
    spec.register_vocabulary([f"t{token}" for token in range(config["vocab_size"])])
    spec.config.unk_token = spec.config.bos_token = spec.config.eos_token = f"t{config['vocab_size'] - 1}"
    spec.validate()
    spec.optimize(quantization=None if kind == "float32" else kind)
    place.mkdir()
    spec.save(str(place))
    return place


WAYS: dict[str, Callable[[Path, int], Make]] = {
    "ours fp32": ours(None),
    "ours bf16": ours("bf16"),
    "ours int8": ours("8bit"),
    "ours int4": ours("4bit"),
    "transformers fp32": transformers("fp32"),
    "transformers bf16": transformers("bf16"),
    "llama.cpp f32": llama_cpp("f32"),
    "llama.cpp bf16": llama_cpp("bf16"),
    "llama.cpp q8_0": llama_cpp("q8_0"),
    "llama.cpp q4_0": llama_cpp("q4_0"),
    "ctranslate2 fp32": ctranslate2("float32"),
    "ctranslate2 int8": ctranslate2("int8"),
}
