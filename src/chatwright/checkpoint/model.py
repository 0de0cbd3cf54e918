"""The one format on disk: a Hugging Face folder with model, tokenizer and chat template, read and written here.

A folder with an adapter stands for its base and the adapter on it; tokenizer and template come from the adapter's folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from chatwright import console, disk, hub, registry
from chatwright.checkpoint import adapter as adapters
from chatwright.checkpoint import belonging, reward
from chatwright.checkpoint.adapter import Adapter
from chatwright.checkpoint.files import read_json, write_json
from chatwright.checkpoint.places import find, is_adapter
from chatwright.checkpoint.texts import read_text, template_source, tokenizer_config
from chatwright.checkpoint.weights import fingerprint, read_config, read_weights, write_weights
from chatwright.errors import ConfigError
from chatwright.models import lora, quant
from chatwright.models.decoder import Decoder
from chatwright.models.device import dtype_of
from chatwright.models.kernels import pages
from chatwright.models.lora import LoraConfig
from chatwright.models.token_rows import TokenRows
from chatwright.text.records import Conversation
from chatwright.text.template import ChatTemplate, Example
from chatwright.text.tokenizer import Tokenizer

LoadIn = Literal["bf16", "8bit", "4bit"]
GENERATION = "generation_config.json"
STALE = ("auto_map", "torch_dtype")  # of others' config.json: code that is not copied, the type the weights had
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}  # as config.json has them


@dataclass
class Checkpoint:
    """A model with the two things that turn conversations into its ids. `own_template` is False for a base model.

    `generation` are the keys of generation_config.json that we do not set. `changed`: the weights are no longer those of
    `origin`, because rows were added, an adapter was merged or the window was stretched. `learned_template`: the model
    came with this template.
    """

    model: Decoder
    tokenizer: Tokenizer
    template: ChatTemplate
    own_template: bool = True
    generation: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    adapter: Adapter | None = None
    changed: bool = False
    learned_template: bool = False
    save_dtype: torch.dtype = torch.float32
    folder: Path | None = None  # where the weights of the model, or of the adapter's base, were read from
    rows: tuple[TokenRows | None, TokenRows | None] = (None, None)  # trained beside the adapter: embedding, head

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        template: str | None = None,
        quiet: bool = False,
        load_in: LoadIn | None = None,
        kind: reward.Kind = "language",
    ) -> "Checkpoint":
        """Reads a model by path or hub id onto the CPU, in fp32 or with the matrices of its blocks as `load_in` says.

        `template` overrides the model's own; with neither, `plain` is used and said on stderr. A model of another `kind`
        than the wanted one is refused.
        Raises ConfigError or DataError in one sentence for anything that is not a usable model.
        """
        folder = find(name)
        adapter = adapters.read(folder) if is_adapter(folder) else None
        base = adapters.base_folder(folder, adapter) if adapter else folder
        config = read_config(base)
        reward.check_kind(name, config, kind)
        weights = read_weights(base, config)
        text = folder if Tokenizer.is_in(folder) else base
        tokenizer, chat, own = read_text(text, template, quiet=quiet)
        belonging.check_vocabulary(tokenizer, config["vocab_size"], folder)
        model = _skeleton(config, load_in)
        model.load_hf(weights)
        if adapter is not None:
            belonging.check_base(adapter, base)
            adapters.attach(model, adapter, folder)
        path = next((p for p in (folder / GENERATION, base / GENERATION) if p.exists()), None)
        generation = read_json(path) if path else {}
        found = cls(model, tokenizer, chat, own, generation, str(name), adapter)
        found.folder, found.rows = base, (model.token_rows, model.head_rows)
        if template is None:
            belonging.warn_of_missing(chat, tokenizer, folder)
        found.learned_template = own and (template_source(text) or "").strip() == chat.to_jinja(tokenizer).strip()
        found = found.with_template(chat, own)
        if found.learned_template:
            chat.check(found.tokenizer)
        return found

    def with_template(self, template: ChatTemplate, own: bool = True) -> "Checkpoint":
        """The same model under another template; its vocabulary grows, in place, by the control tokens that it lacks."""
        missing = [token for token in template.special_tokens if self.tokenizer.id_of(token) is None]
        tokenizer = self.tokenizer.with_special(missing) if missing else self.tokenizer
        if missing:
            self.model.grow(self.tokenizer.vocab_size, tokenizer.vocab_size)
        return replace(
            self, tokenizer=tokenizer, template=template, own_template=own, changed=self.changed or bool(missing)
        )

    def with_lora(self, config: LoraConfig, base: str, *, dtype: torch.dtype, seed: int) -> "Checkpoint":
        """The same model, frozen in `dtype`, with a new adapter that is trained in its place.

        `base` is the path or hub id under which other programs find these weights. Rows of control tokens that the
        base was given are trained too. ConfigError for a reward model, which is trained whole.
        """
        if self.model.score is not None:
            raise ConfigError(reward.WHOLE)
        new = self.new_tokens
        lora.attach(self.model, config, seed=seed)
        lora.freeze(self.model, dtype)
        self.model.matrix_dtype = dtype if dtype != torch.float32 else None
        if new:
            adapters.add_rows(self.model, new)
        name, revision = (base, None) if Path(base).exists() else hub.split(base)
        rows = (self.model.token_rows, self.model.head_rows)
        return replace(self, adapter=Adapter(config, name, revision, fingerprint(find(base))), rows=rows)

    def with_score(self, seed: int) -> "Checkpoint":
        """The same model as a reward model, whose head the seed draws; ConfigError where there is an adapter on it."""
        return reward.scoring(self, seed)

    @property
    def new_tokens(self) -> list[int]:
        """The control tokens of a template that the model never learned: their rows stand for nothing yet."""
        if self.learned_template:
            return []
        ids = (self.tokenizer.id_of(token) for token in self.template.special_tokens)
        return sorted(number for number in ids if number is not None)

    def with_adapter(self, name: str | Path) -> "Checkpoint":
        """Another adapter on the same model, which it becomes the active one of; tokenizer and template are its own.

        Raises ConfigError for a folder that holds no adapter, or one that was made for another base or does not fit its
        own text half; nothing then changes. Where nobody knows the base's weights, a warning names both bases.
        """
        folder = find(name)
        if not is_adapter(folder):
            raise ConfigError(f"{folder} is a whole model; an adapter is a folder with an adapter_config.json")
        read = replace(adapters.read(folder), name=f"adapter-{len(lora.names(self.model)) + 1}")
        if self.folder is not None:
            read = replace(read, base_fingerprint=adapters.known_fingerprint(folder, read))
            belonging.check_base(read, self.folder)
        tokenizer, chat, own = self.tokenizer, self.template, self.own_template
        if Tokenizer.is_in(folder):
            tokenizer, chat, own = read_text(folder, None, quiet=True)
            belonging.check_text(tokenizer, chat, own, folder)
        if tokenizer.vocab_size > self.model.config.vocab_size:
            raise ConfigError(f"{folder} has more tokens than this base has rows; it is an adapter for another base")
        self.model.set_rows(None, None)  # those of the new one replace the base's, not this one's
        try:
            adapters.attach(self.model, read, folder)
        except ConfigError:
            self.activate()
            raise
        if self.folder is not None and not read.base_fingerprint:  # other programs note none
            console.warn(
                f"{folder} was made for {read.base}, which is not here to be compared with {self.folder}; "
                "if their weights differ, its answers mean nothing"
            )
        rows = (self.model.token_rows, self.model.head_rows)
        made = Checkpoint(self.model, tokenizer, chat, own, self.generation, str(name), read)
        return replace(made, rows=rows, folder=self.folder)

    def without_adapter(self) -> "Checkpoint":
        """The base alone, on the same model; `activate` switches to it."""
        return replace(self, adapter=None, rows=(None, None))

    def activate(self) -> None:
        """Makes this checkpoint's adapter the one through which the model computes."""
        lora.use(self.model, self.adapter.name if self.adapter else None)
        self.model.set_rows(*self.rows)

    def merged(self) -> "Checkpoint":
        """The same without an adapter: its changes are folded into the weights, in place."""
        if self.adapter is None:
            return self
        self.activate()
        lora.merge(self.model)
        self.model.fold_rows()
        return replace(self, adapter=None, changed=True)

    def render(self, conversation: Conversation, *, reply: bool = False) -> Example:
        """Ids and mask of a conversation, as training sees it, or as the prompt for the next answer."""
        return self.template.render(conversation, self.tokenizer, reply=reply)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return self.template.stop_ids(self.tokenizer)

    def restore(self, folder: Path) -> None:
        """Takes the weights of a folder that was written from this checkpoint, in place."""
        if self.adapter is None:
            self.model.load_hf(read_weights(folder, read_config(folder)))
        else:
            belonging.check_same(self.adapter, adapters.read(folder), folder)
            adapters.restore(self.model, folder)

    def save(self, folder: Path, *, metadata: Mapping[str, Any] | None = None, card: str = "") -> None:
        """Writes the folder whole or not at all; equal models give equal bytes. Raises DiskFull."""
        with disk.new_folder(folder) as temporary:
            self.write(temporary, metadata=metadata, card=card)

    def write(self, folder: Path, *, metadata: Mapping[str, Any] | None = None, card: str = "") -> None:
        """The files of `save`, into a folder that somebody else makes atomic."""
        if self.adapter is None:
            write_weights(self.model.to_hf(), folder, dtype=self.save_dtype)
            write_json(folder / "config.json", self._config())
        else:
            adapters.write(self.model, self.adapter, folder, self.save_dtype)
            metadata = {**(metadata or {}), "base_fingerprint": self.adapter.base_fingerprint}
        if self.model.score is None:
            write_json(folder / GENERATION, self._generation_config())
        self.tokenizer.save(folder)
        own = self.template if self.own_template else None
        described = tokenizer_config(self.tokenizer, own, self.stop_ids[0] if own else None)
        window = {"model_max_length": self.model.config.context_length}
        padding = reward.padding_of(self.model, self.tokenizer)
        write_json(folder / "tokenizer_config.json", {**window, **described, **padding})
        if own:
            (folder / "chat_template.jinja").write_bytes(own.to_jinja(self.tokenizer).encode())
        if metadata is not None:
            write_json(folder / "training_metadata.json", metadata)
        if card:
            (folder / "README.md").write_text(card, encoding="utf-8")

    @property
    def _begin(self) -> int | None:
        """What `bos_token` means to other programs: the token before every text or, where there is none, the end of text."""
        begin = self.tokenizer.begin_of_text
        return self.tokenizer.end_of_text if begin is None else begin

    def _config(self) -> dict[str, Any]:
        """Sorted by key, so that saving what was loaded gives the same bytes."""
        end = self.tokenizer.end_of_text
        config = {
            **self.model.config.to_hf(),
            "bos_token_id": self._begin,
            "eos_token_id": end,
            "dtype": NAMES[self.save_dtype],
        }
        return {name: config[name] for name in sorted(config) if name not in STALE}

    def _generation_config(self) -> dict[str, Any]:
        """The ids that end an answer live here, not in config.json: this file governs `generate`."""
        end = self.tokenizer.end_of_text
        return {
            "max_new_tokens": 256,
            **self.generation,
            "bos_token_id": self._begin,
            "eos_token_id": list(self.stop_ids) if self.own_template else end,
            "pad_token_id": end,
        }


def _skeleton(config: Mapping[str, Any], load_in: LoadIn | None) -> Decoder:
    """A model without numbers, in memory; what is quantised never stands there in full."""
    family = registry.load("models", config["model_type"]).MODEL
    with torch.device("meta"):
        model: Decoder = family.build(config)
    if load_in in ("4bit", "8bit"):
        quant.quantised_skeleton(model, load_in)
        computed = dtype_of("auto", torch.device("cpu"))
        model.matrix_dtype = computed if computed == torch.bfloat16 else None
    if load_in == "bf16":
        lora.freeze(model, torch.bfloat16)
        model.matrix_dtype = torch.bfloat16
    # not `to_empty`: for tensors on the meta device that imports sympy, a third of a second of every start
    model._apply(lambda one: torch.empty(one.shape, dtype=one.dtype) if one.is_meta else one)  # type: ignore[no-untyped-call]
    pages.ask(model.parameters())  # before they are filled, large ones cost nothing
    return model
