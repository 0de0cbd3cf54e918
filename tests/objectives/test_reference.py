"""The start model may be a copy, the model without its adapter, or numbers from the disk: the loss is the same.

The numbers are used again where they are of the same model and the same data, and of nothing else.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from preferring_runs import given, losses, pair, pairs, prefer, written
from safetensors.numpy import load_file
from small_answers import alone, choices, difference, families, gpt2, gradients
from torch import Tensor
from tuned_runs import base

from chatwright import config
from chatwright.checkpoint import Checkpoint
from chatwright.commands import _tuning as tuning
from chatwright.commands import dpo as verb
from chatwright.data.answers import Choices, collate
from chatwright.errors import NotFinite
from chatwright.objectives import reference as references
from chatwright.objectives.dpo import Dpo
from chatwright.objectives.reference import FrozenCopy, Reference, WithoutAdapter
from chatwright.text.records import Preference, conversation

FILE = "reference.safetensors"
KINDS: dict[str, dict[str, Any]] = {
    "all weights": {},
    "an adapter": {"lora_rank": 2},
    "an adapter on 4 bits": {"lora_rank": 2, "load_in": "4bit"},
    "an adapter on 8 bits": {"lora_rank": 2, "load_in": "8bit"},
    "an adapter in bf16": {"lora_rank": 2, "dtype": "bf16"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    base(folder / "chatbot", template="chatml")
    base(folder / "other", template="chatml", seed=1)
    base(folder / "base")  # lacks the chat tokens: their rows are trained beside an adapter
    pairs(folder / "pairs.jsonl")
    return folder


def records() -> list[Preference]:
    return [
        Preference(conversation(f"What is {n}?", f"It is {n}."), conversation(f"What is {n}?", "I do not know. " * n))
        for n in range(1, 6)
    ]


def moved(model: torch.nn.Module) -> None:
    """What is trained, as after some steps."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in (weight for weight in model.parameters() if weight.requires_grad):
            weight.add_(0.05 * torch.randn_like(weight))


# ---- the same loss


@every_kind
@pytest.mark.parametrize("start", ["chatbot", "base"])
def test_each_way_to_ask_the_start_gives_the_same_loss_and_gradient(
    start: str, kind: str, place: Path, tmp_path: Path
) -> None:
    """Numbers that were computed before the first step, a second model, and what is trained without its adapter."""
    settings = config.resolve(
        verb.Settings, flags=given(place / start, "-", tmp_path / "run", template="chatml", **KINDS[kind])
    )
    policy = tuning.policy(settings)
    data = Dpo(seq_len=128).prepare(records(), policy)
    cached = references.computed(policy.model, data, 2, np.arange(5))
    asked: list[tuple[Choices, Reference | None]] = [(cached, None), (data, FrozenCopy(tuning.start(settings, policy)))]
    if policy.adapter is not None:
        asked.append((data, WithoutAdapter(policy)))
    policy.activate()
    moved(policy.model)
    found = [_loss(policy, one, reference) for one, reference in asked]
    (loss, slopes), others = found[0], found[1:]
    assert abs(loss / 5 - np.log(2)) > 1e-2
    for other, other_slopes in others:
        assert other == pytest.approx(loss, rel=1e-5)
        assert difference(other_slopes, slopes) < 1e-5


def _loss(policy: Checkpoint, data: Choices, reference: Reference | None) -> tuple[float, list[Tensor]]:
    loss = Dpo(beta=0.5, reference=reference).loss(policy.model, collate(data, range(5), {})).total
    return loss.item(), gradients(policy.model, loss)


@every_kind
def test_runs_that_ask_it_in_different_ways_learn_the_same(kind: str, place: Path, tmp_path: Path) -> None:
    ways = ["cached", "copy", *(["adapter"] if "lora_rank" in KINDS[kind] else [])]
    for way in ways:
        prefer("dpo", place / "chatbot", place / "pairs.jsonl", tmp_path / way, reference=way, **KINDS[kind])
    first, *others = (losses(tmp_path / way) for way in ways)
    assert len(set(first)) == 3
    for other in others:
        assert other == pytest.approx(first, rel=1e-5)
    assert [(tmp_path / way / FILE).exists() for way in ways] == [True, False, False][: len(ways)]


def test_while_the_start_is_asked_the_adapter_is_off_and_on_again_afterwards(place: Path, tmp_path: Path) -> None:
    settings = config.resolve(
        verb.Settings, flags=given(place / "base", "-", tmp_path / "run", template="chatml", lora_rank=2)
    )
    policy = tuning.policy(settings)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        before = policy.model(ids)
        moved(policy.model)
        trained = policy.model(ids)
        with WithoutAdapter(policy).model() as model:
            assert model is policy.model
            off = policy.model(ids)
        assert torch.equal(policy.model(ids), trained)
        assert torch.equal(off, before)
        assert not torch.equal(trained, before)
        with pytest.raises(ZeroDivisionError), WithoutAdapter(policy).model():
            raise ZeroDivisionError
        assert torch.equal(policy.model(ids), trained)


def test_no_gradient_reaches_the_start_model() -> None:
    policy, start = gpt2(seed=1), gpt2()
    data = choices(families((3, 2, 4), (5, 1, 1)))
    reference = FrozenCopy(Checkpoint(start, None, None))  # type: ignore[arg-type]
    Dpo(reference=reference).loss(policy, collate(data, range(2), {})).total.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in start.parameters())
    assert all(weight.grad is not None for weight in policy.parameters())


# ---- numbers computed before


def test_they_are_of_the_wanted_prompts_and_without_dropout_whatever_the_mode() -> None:
    model = gpt2(resid_pdrop=0.5, attn_pdrop=0.5)
    some = families((3, 2, 4), (5, 1, 1), (2, 7, 3), (4, 4, 4))
    model.train()
    found = references.computed(model, choices(some), 2, np.array([0, 2, 3]))
    assert model.blocks.training
    model.eval()
    with torch.no_grad():
        expected = alone(model, some).view(4, 2).T
    assert np.isnan(found.reference[0]).tolist() == np.isnan(found.reference[1]).tolist() == [False, True, False, False]
    for side in (0, 1):
        torch.testing.assert_close(torch.from_numpy(found.reference[side])[[0, 2, 3]], expected[side][[0, 2, 3]])


def test_a_start_that_gives_no_number_is_said_and_not_stored() -> None:
    model = gpt2()
    with torch.no_grad():
        model.output_weight[3, 3] = float("nan")
    with pytest.raises(NotFinite, match="its weights are damaged"):
        references.computed(model, choices(families((3, 2, 4))), 1, np.arange(1))


def stored() -> dict[str, Choices]:
    model = gpt2()
    some = choices(families((3, 2, 4), (5, 1, 1), (2, 7, 3)))
    return {
        "train": references.computed(model, some, 2, np.array([0, 2])),
        "test": references.computed(model, some, 2, np.arange(3)),
    }


def test_they_come_back_from_the_disk_as_they_were(tmp_path: Path) -> None:
    data = stored()
    references.save(tmp_path / FILE, data, "key")
    bare = {name: Choices(one.members) for name, one in data.items()}
    found = references.load(tmp_path / FILE, bare, "key")
    assert found is not None
    for name, one in data.items():
        for ours, theirs in zip(found[name].reference, one.reference, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-5]),
    "another file": lambda file: file.write_text("no numbers"),
    "empty": lambda file: file.write_bytes(b""),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_broken_is_none(damage: str, tmp_path: Path) -> None:
    data = stored()
    references.save(tmp_path / FILE, data, "key")
    DAMAGES[damage](tmp_path / FILE)
    assert references.load(tmp_path / FILE, data, "key") is None


def test_a_file_of_something_else_is_none(tmp_path: Path) -> None:
    data = stored()
    references.save(tmp_path / FILE, data, "key")
    assert references.load(tmp_path / FILE, data, "another key") is None
    assert references.load(tmp_path / FILE, {**data, "validation": data["test"]}, "key") is None


def test_a_model_is_known_by_all_of_its_weights() -> None:
    """By more than their sizes: weights that changed places or signs are another model."""
    first = references.identity(gpt2())
    assert references.identity(gpt2()) == first
    assert references.identity(gpt2(seed=1)) != first
    turned, swapped = gpt2(), gpt2()
    with torch.no_grad():
        turned.output_weight[5].neg_()
        swapped.output_weight[[5, 6]] = swapped.output_weight[[6, 5]]
    assert len({references.identity(turned), references.identity(swapped), first}) == 3


# ---- in a run


@pytest.fixture(scope="module")
def first(place: Path) -> Path:
    """A run whose numbers lie in the folders of others."""
    prefer("dpo", place / "chatbot", place / "pairs.jsonl", place / "first")
    return place / "first"


@pytest.fixture
def planted(place: Path, first: Path, tmp_path: Path) -> Callable[..., tuple[bool, list[float]]]:
    """Runs a verb in a folder in which the numbers of another run lie; whether these were used, and its losses."""

    def run(
        name: str, damage: Callable[[Path], object] | None = None, verb: str = "dpo", **more: Any
    ) -> tuple[bool, list[float]]:
        model, data = more.pop("model", place / "chatbot"), more.pop("data", place / "pairs.jsonl")
        file = tmp_path / name / FILE
        file.parent.mkdir()
        shutil.copy(first / FILE, file)
        if damage:
            damage(file)
        before = file.stat().st_ino if file.exists() else 0
        prefer(verb, model, data, tmp_path / name, **more)
        return file.stat().st_ino == before, losses(tmp_path / name)

    return run


def test_numbers_of_the_same_model_and_data_are_used_again(planted: Any, first: Path) -> None:
    assert planted("again") == (True, losses(first))


@pytest.mark.parametrize("damage", DAMAGES)
def test_broken_ones_are_computed_anew(damage: str, planted: Any, first: Path) -> None:
    assert planted("again", DAMAGES[damage]) == (False, losses(first))


@pytest.mark.parametrize("change", ["model", "data", "seed", "steps", "batch_size", "dtype", "verb"])
def test_those_of_anything_else_are_not_used(change: str, planted: Any, place: Path, tmp_path: Path) -> None:
    """Or the run would begin far from ln 2 and never say why."""
    other = written(tmp_path / "other.jsonl", [pair(number + 100) for number in range(24)])
    changes = {
        "model": place / "other",
        "data": other,
        "seed": 1,
        "steps": 4,
        "batch_size": 3,
        "dtype": "bf16",
        "verb": "kto",
    }
    used, found = planted("other", **{change: changes[change]})
    assert not used
    assert found[0] == pytest.approx(0.5 if change == "verb" else np.log(2), rel=1e-2 if change == "dtype" else 1e-5)


def test_of_a_short_run_the_start_is_asked_only_for_what_the_run_comes_to(place: Path, tmp_path: Path) -> None:
    prefer("dpo", place / "chatbot", place / "pairs.jsonl", tmp_path / "short")
    prefer("dpo", place / "chatbot", place / "pairs.jsonl", tmp_path / "long", steps=None, epochs=1)
    short, long = (load_file(tmp_path / name / FILE) for name in ("short", "long"))
    assert np.count_nonzero(~np.isnan(short["train/0"])) == 3 * 2
    assert not any(np.isnan(values).any() for name, values in short.items() if not name.startswith("train"))
    assert not any(np.isnan(values).any() for values in long.values())
    known = ~np.isnan(short["train/1"])
    np.testing.assert_allclose(short["train/1"][known], long["train/1"][known], rtol=1e-5)


def test_unless_it_is_said_otherwise_an_adapter_is_switched_off_and_all_else_computed_before(
    place: Path, tmp_path: Path
) -> None:
    for name, more, computed in (("whole", {}, True), ("adapter", {"lora_rank": 2}, False)):
        prefer("dpo", place / "chatbot", place / "pairs.jsonl", tmp_path / name, guards_prompts=0, **more)
        assert (tmp_path / name / FILE).exists() is computed
