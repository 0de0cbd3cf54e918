"""Laws that every model family keeps, each a function of one model; `transformers` is the judge.

A family's test file makes models of odd configs with `model_of` and asks each of `LAWS` of them. Law numbers are those of
the design.
"""

import json
import logging
import math
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from chatwright import registry
from chatwright.errors import ConfigError
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.decoder import Decoder

LENGTHS = (1, 7, 3, 12)
LONGEST = max(LENGTHS)
NEW = 12  # tokens that are generated
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def model_of(family: str, seed: int = 0, **config: Any) -> Decoder:
    """Random, and perturbed, because biases and norms that stay 0 and 1 would hide a mistake in them.

    Weights are ten times as wide as usual, so that logits differ enough to be told apart.
    """
    torch.manual_seed(seed)
    model: Decoder = registry.load("models", family).MODEL.build({"initializer_range": 0.2, **config}).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model


def theirs(model: Decoder) -> Any:
    """The model of `transformers` with the same config and the same weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = model.config.to_hf()
    with no_warnings():
        other = AutoModelForCausalLM.from_config(AutoConfig.for_model(config.pop("model_type"), **config)).eval()
    # in memory its heads have one name, whatever a family's files say
    weights = {"lm_head.weight" if name == model.HEAD else name: weight for name, weight in model.to_hf().items()}
    missing, unexpected = other.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if model.lm_head is None else set())
    other.tie_weights()
    return other


def random_ids(model: Decoder, *shape: int, seed: int = 1) -> Tensor:
    return torch.randint(model.config.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    """Relative to the largest value where that is above 1."""
    assert ours.shape == expected.shape
    scale = max(1.0, float(expected.abs().max()))
    return float((ours.float() - expected.float()).abs().max()) <= tolerance * scale


def same_as_theirs(ours: Tensor, expected: Tensor) -> bool:
    """Law 6."""
    return close(ours, expected, 1e-4)


@contextmanager
def no_warnings() -> Iterator[None]:
    """Fails on whatever `transformers` has to say against a config or a file."""
    said: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
    assert not said


def empty_cache(model: Decoder, rows: int, length: int) -> KVCache:
    dtype = model.final_norm.weight.dtype
    return KVCache(model.config.cache_shape, rows, length, device=torch.device("cpu"), dtype=dtype)


# Law 6: the judge


def logits_equal_those_of_transformers(model: Decoder) -> None:
    ids = random_ids(model, 3, LONGEST)
    with torch.no_grad():
        assert same_as_theirs(model(ids), theirs(model)(ids).logits)


def positions_that_are_given_are_used(model: Decoder) -> None:
    """Other distances, because where positions are only relative a shift alone would change nothing."""
    ids, spread = random_ids(model, 1, 5), torch.tensor([0, 1, 4, 7, 9])
    with torch.no_grad():
        found = model(ids, positions=spread)
        assert same_as_theirs(found, theirs(model)(ids, position_ids=spread[None]).logits)
        assert not close(found, model(ids), 1e-3)


def cached_decoding_equals_that_of_transformers(model: Decoder) -> None:
    """Greedy tokens, and the logits of every step."""
    ids, new = random_ids(model, 2, 4), min(NEW, model.config.context_length - 4)
    other = theirs(model)
    other.generation_config.eos_token_id = None
    cache = empty_cache(model, 2, 4 + new)
    with torch.no_grad():
        expected = other.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        logits = model(ids, attend=Attend.cached(cache.lengths, 4), cache=cache)[:, -1]
        for step in range(new):
            assert same_as_theirs(logits, expected.logits[step]), step
            token = logits.argmax(-1, keepdim=True)
            assert torch.equal(token[:, 0], expected.sequences[:, 4 + step]), step
            if step + 1 < new:
                logits = model(token, attend=Attend.cached(torch.full((2,), 4 + step), 1), cache=cache)[:, -1]


# Law 7: cached, batched and packed


def cached_steps_equal_one_uncached_pass(model: Decoder) -> None:
    ids, dtype = random_ids(model, 2, LONGEST), model.final_norm.weight.dtype
    with torch.no_grad():
        whole = model(ids)
        for prefill in (1, 5, LONGEST - 1):
            cache = empty_cache(model, 2, LONGEST)
            parts = [model(ids[:, :prefill], attend=Attend.cached(cache.lengths, prefill), cache=cache)]
            for place in range(prefill, LONGEST):
                lengths = torch.full((2,), place)
                parts.append(model(ids[:, place : place + 1], attend=Attend.cached(lengths, 1), cache=cache))
            assert close(torch.cat(parts, dim=1), whole, TOLERANCE[dtype]), prefill


def a_prompt_may_be_read_in_pieces(model: Decoder) -> None:
    ids, cache, read = random_ids(model, 2, LONGEST), empty_cache(model, 2, LONGEST), 0
    with torch.no_grad():
        for piece in ids.split(5, dim=1):
            part = model(piece, attend=Attend.cached(torch.full((2,), read), piece.shape[1]), cache=cache)
            read += piece.shape[1]
        assert close(part, model(ids)[:, -part.shape[1] :])


def rows_of_different_length_decode_together_as_one_by_one(model: Decoder) -> None:
    rows, lengths = [random_ids(model, n, seed=n) for n in LENGTHS], torch.tensor(LENGTHS)
    cache, dtype = empty_cache(model, 4, LONGEST + 2), model.final_norm.weight.dtype
    following = random_ids(model, 4, 2, seed=9)
    with torch.no_grad():
        padded = pad_sequence(rows, batch_first=True)
        first = model(padded, attend=Attend.cached(torch.zeros_like(lengths), LONGEST), cache=cache)
        later = [
            model(following[:, i : i + 1], attend=Attend.cached(lengths + i, 1), cache=cache)[:, 0] for i in (0, 1)
        ]
        for row, ids in enumerate(rows):
            alone = model(torch.cat([ids, following[row]])[None])[0]
            together = torch.cat([first[row, : len(ids)], later[0][row, None], later[1][row, None]])
            assert close(together, alone, TOLERANCE[dtype]), row


def packed_texts_equal_one_by_one(model: Decoder) -> None:
    texts, dtype = [random_ids(model, n, seed=n) for n in LENGTHS], model.final_norm.weight.dtype
    row = torch.cat([*texts, torch.zeros(4, dtype=torch.long)])  # the padding at the end is a segment of its own
    numbers = torch.cat([torch.full((n,), i) for i, n in enumerate(LENGTHS)] + [torch.full((4,), -1)])
    with torch.no_grad():
        packed = model(row[None], attend=Attend.packed(numbers[None]))[0]
        start = 0
        for text in texts:
            assert close(packed[start : start + len(text)], model(text[None])[0], TOLERANCE[dtype])
            start += len(text)


def texts_that_go_on_from_one_beginning_equal_each_alone(model: Decoder) -> None:
    dtype = model.final_norm.weight.dtype
    beginning, *rest = (random_ids(model, n, seed=n) for n in (5, 1, 4, 2))
    numbers = torch.cat([torch.full((len(text),), i) for i, text in enumerate([beginning, *rest])])
    parents = torch.where(numbers == 0, -1, 0)
    with torch.no_grad():
        attend = Attend.shared_prefix(numbers[None], parents[None])
        together = model(torch.cat([beginning, *rest])[None], attend=attend)[0]
        for number, text in enumerate(rest, start=1):
            alone = model(torch.cat([beginning, text])[None])[0]
            assert close(together[numbers == number], alone[5:], TOLERANCE[dtype])


def what_stands_in_the_padding_changes_neither_logits_nor_gradients(model: Decoder) -> None:
    segments = torch.tensor([[-1, 0, 0, 0, 0, -1]])
    found = []
    for padding in (0, 7):
        ids = F.pad(random_ids(model, 1, 4), (1, 1), value=padding)
        model.zero_grad()
        logits = model(ids, attend=Attend.packed(segments))[:, 1:5]
        logits.square().sum().backward()
        found.append((logits.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


def law_7_holds_in_bf16(model: Decoder) -> None:
    model = model.to(torch.bfloat16)
    cached_steps_equal_one_uncached_pass(model)
    rows_of_different_length_decode_together_as_one_by_one(model)
    packed_texts_equal_one_by_one(model)
    texts_that_go_on_from_one_beginning_equal_each_alone(model)


# Files


def names_and_shapes_are_those_of_transformers(model: Decoder) -> None:
    """As expected before anything is allocated, as we write them, and as `save_pretrained` does: a tied head by neither."""
    expected = type(model).expected_shapes(model.config.to_hf())
    assert expected == {name: tuple(weight.shape) for name, weight in model.to_hf().items()}
    with tempfile.TemporaryDirectory() as folder:
        theirs(model).save_pretrained(folder)
        saved = load_file(Path(folder) / "model.safetensors")
    assert expected == {name: tuple(weight.shape) for name, weight in saved.items()}


def a_folder_of_transformers_gives_the_same_model(model: Decoder) -> None:
    """Its config.json in the words of transformers 5, and its weights in several files."""
    other = theirs(model)
    with tempfile.TemporaryDirectory() as folder:
        other.save_pretrained(folder, max_shard_size="20KB")
        files = sorted(Path(folder).glob("*.safetensors"))
        assert len(files) > 1
        config = json.loads((Path(folder) / "config.json").read_text())
        weights = {name: weight for file in files for name, weight in load_file(file).items()}
    assert config["model_type"] == model.config.MODEL_TYPE
    again = type(model).build(config).eval()
    again.load_hf(weights)
    ids = random_ids(model, 2, LONGEST)
    with torch.no_grad():
        assert close(again(ids), model(ids))


def our_folder_is_read_by_transformers_without_a_warning(model: Decoder) -> None:
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps({**model.config.to_hf(), "dtype": "float32"}))
        weights = {name: weight.contiguous() for name, weight in model.to_hf().items()}
        save_file(weights, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        with no_warnings():
            other = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = random_ids(model, 2, LONGEST)
    with torch.no_grad():
        assert same_as_theirs(model(ids), other(ids).logits)


def weights_and_config_survive_being_written_and_read(model: Decoder) -> None:
    config = {**model.config.to_hf(), "my_own": {"a": [1]}}
    with torch.device("meta"):
        again = type(model).build(config)
    again = again.to_empty(device="cpu").eval()
    again.load_hf(model.to_hf())
    ids = random_ids(model, 2, LONGEST)
    with torch.no_grad():
        assert torch.equal(again(ids), model(ids))
    assert again.config.to_hf() == config
    assert json.loads(json.dumps(config)) == config
    for name, weight in model.to_hf().items():
        assert torch.equal(again.to_hf()[name], weight), name


# Training


def checkpointing_gives_the_same_gradients(model: Decoder) -> None:
    """And goes through each block twice for them, in training only."""
    ids, calls = random_ids(model, 2, LONGEST), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for block in model.blocks:
        block.register_forward_pre_hook(count)
    model.train()
    found = []
    for model.checkpointing in (False, True):
        model.zero_grad()
        calls = 0
        model(ids).square().mean().backward()
        assert calls == len(model.blocks) * (2 if model.checkpointing else 1)
        found.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    for name, gradient in found[0].items():
        assert float(gradient.abs().max()) > 0, name
        assert torch.equal(gradient, found[1][name]), name


def dropout_acts_only_in_training(model: Decoder) -> None:
    ids = random_ids(model, 1, LONGEST)
    model.set_dropout(0.5)
    with torch.no_grad():
        still = model(ids)
        assert torch.equal(still, model(ids))
        model.train()
        assert not torch.equal(model(ids), model(ids))
        model.set_dropout(0.0)
        assert close(model(ids), still)


def dropped(model: Decoder) -> list[float]:
    """The shares that one pass drops on its way, in order, those inside attention apart."""
    shares: list[float] = []
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda module, given, out: shares.append(module.p))  # type: ignore[arg-type]
    model(random_ids(model, 1, 5))
    return shares


def new_rows_are_the_mean_of_the_old(model: Decoder) -> None:
    ids, known = random_ids(model, 1, 9), model.config.vocab_size
    names = [model.EMBEDDING] + [model.HEAD] * (model.lm_head is not None)
    with torch.no_grad():
        before, old = model(ids), {name: model.to_hf()[name].clone() for name in names}
        model.grow(known, known + 3)
        assert close(model(ids)[..., :known], before)
    for name in names:
        new = model.to_hf()[name]
        assert torch.equal(new[:known], old[name])
        assert close(new[known:], old[name].mean(0).expand(3, -1), 1e-6)
    assert type(model).expected_shapes(model.config.to_hf())[model.EMBEDDING] == (known + 3, old[names[0]].shape[1])
    with torch.no_grad():
        assert same_as_theirs(model(ids), theirs(model)(ids).logits)


LAWS: tuple[Callable[[Decoder], None], ...] = (
    logits_equal_those_of_transformers,
    positions_that_are_given_are_used,
    cached_decoding_equals_that_of_transformers,
    cached_steps_equal_one_uncached_pass,
    a_prompt_may_be_read_in_pieces,
    rows_of_different_length_decode_together_as_one_by_one,
    packed_texts_equal_one_by_one,
    texts_that_go_on_from_one_beginning_equal_each_alone,
    what_stands_in_the_padding_changes_neither_logits_nor_gradients,
    law_7_holds_in_bf16,
    names_and_shapes_are_those_of_transformers,
    a_folder_of_transformers_gives_the_same_model,
    our_folder_is_read_by_transformers_without_a_warning,
    weights_and_config_survive_being_written_and_read,
    checkpointing_gives_the_same_gradients,
    dropout_acts_only_in_training,
    new_rows_are_the_mean_of_the_old,
)
every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)


# A new model


def starts_at_the_loss_of_chance(family: str, **config: Any) -> None:
    """ln V, with the weights that a new model has."""
    torch.manual_seed(0)
    model = registry.load("models", family).MODEL.build(config).eval()
    ids = random_ids(model, 8, 33)
    with torch.no_grad():
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    chance = math.log(model.config.vocab_size)
    assert abs(float(loss) - chance) < 0.05 * chance


def parameters(family: str, size: str) -> int:
    """How many a size has, without allocating them."""
    module = registry.load("models", family)
    return sum(math.prod(shape) for shape in module.MODEL.expected_shapes(module.SIZES[size]).values())


# What no config may say


def refused_by_name(family: str, name: str, value: object, **config: Any) -> None:
    """In one sentence that names the key."""
    with pytest.raises(ConfigError, match=name) as caught:
        registry.load("models", family).MODEL.build({**config, name: value})
    assert "\n" not in str(caught.value)


def senseless(
    *, sizes: Iterable[str] = (), shares: Iterable[str] = (), flags: Iterable[str] = ()
) -> list[tuple[str, object]]:
    """Keys with values that make no sense for them."""
    wrong: dict[str, tuple[object, ...]] = {
        **dict.fromkeys(sizes, (0, -16, 10**12, 2**63, 16.0, True, math.nan, "16", [16])),
        **dict.fromkeys(shares, (-0.02, 1.0, math.nan, math.inf, True, "0.1", None)),
        **dict.fromkeys(flags, ("no", 1, None)),
    }
    return [(name, value) for name, values in wrong.items() for value in values]


def the_largest_config_is_looked_at_without_memory_or_time(family: str, **config: Any) -> None:
    """2 s and 200 MB at most for names and shapes of a model that no machine could hold."""
    model, start, before = registry.load("models", family).MODEL, time.perf_counter(), peak_memory()
    largest = {name: most for name, most in model.CONFIG.WHOLE.items() if name not in config}
    shapes = model.expected_shapes({**largest, **config})
    assert sum(math.prod(shape) for shape in shapes.values()) > 10**12
    assert time.perf_counter() - start < 2
    assert peak_memory() - before < 200e6


def peak_memory() -> int:
    """Bytes, of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
