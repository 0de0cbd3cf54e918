"""Settings: one name everywhere, the nearest source wins, and what is wrong is told with its place."""

import math
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from chatwright import config
from chatwright.errors import ConfigError


class Lora(config.Group):
    rank: int = Field(default=0, ge=0)
    alpha: float = 1.0


class Tiny(config.Settings):
    model: str
    lr: float = Field(default=1e-3, gt=0)
    seq_len: int = 128
    dtype: Literal["auto", "bf16", "fp32"] = "auto"
    out: Path = Path("runs/tiny")
    stop: tuple[str, ...] = ()
    template: str | None = None
    seed: int | None = 0
    shuffle: bool = True
    lora: Lora = Lora()
    weights: dict[str, int] = {}  # noqa: RUF012

    @model_validator(mode="after")
    def _fits(self) -> "Tiny":
        if self.seq_len == 13:
            raise ValueError("--seq-len is 13, which nothing divides; give 12 or 14")
        return self


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


def read(file: Path, text: str, verb: str = "") -> Tiny:
    file.write_text(text, encoding="utf-8")
    return config.resolve(Tiny, file, verb=verb)


def refusal(file: Path, text: str, verb: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        read(file, text, verb)
    return str(caught.value).replace(str(file), "FILE")


def test_the_command_line_wins_over_the_environment_over_yaml_over_the_default(file: Path) -> None:
    file.write_text("model: yaml\nlr: 0.5\nseq_len: 5\n", encoding="utf-8")
    environ = {"CHATWRIGHT_LR": "0.25", "CHATWRIGHT_MODEL": "environ"}
    settings = config.resolve(Tiny, file, environ, {"model": "flag"})
    assert (settings.model, settings.lr, settings.seq_len, settings.dtype) == ("flag", 0.25, 5, "auto")


def test_one_name_works_dotted_nested_dashed_and_underscored(file: Path) -> None:
    for text in ("lora.rank: 8", "lora:\n  rank: 8", "lora: {rank: 8}"):
        assert read(file, f"model: m\nseq-len: 7\n{text}\n").lora.rank == 8
    assert config.resolve(Tiny, environ={"CHATWRIGHT_LORA__RANK": "8"}, flags={"model": "m"}).lora.rank == 8
    for flags in ({"lora.rank": "8"}, {"lora": {"rank": 8}}, {"--lora.rank": 8}):
        assert config.resolve(Tiny, flags={"model": "m", **flags}).lora.rank == 8
    assert config.resolve(Tiny, flags={"model": "m", "seq-len": "7"}).seq_len == 7


def test_a_group_keeps_what_other_sources_gave_it(file: Path) -> None:
    file.write_text("model: m\nlora: {rank: 8}\n", encoding="utf-8")
    settings = config.resolve(Tiny, file, {"CHATWRIGHT_LORA__ALPHA": "3"})
    assert settings.lora == Lora(rank=8, alpha=3)


def test_yaml_numbers_and_words_are_what_they_look_like(file: Path) -> None:
    settings = read(file, "model: on\nlr: 1e-4\nseq_len: 1_024\nstop: [yes, no, '010', 1:30]\ntemplate: 2020-01-01\n")
    assert (settings.model, settings.lr, settings.seq_len) == ("on", 1e-4, 1024)
    assert settings.stop == ("yes", "no", "010", "1:30")
    assert settings.template == "2020-01-01"
    assert read(file, "model: m\nseq_len: 010\nlr: .inf\nseed: null\nshuffle: false").model_dump() == {
        **Tiny(model="m").model_dump(), "seq_len": 10, "lr": math.inf, "seed": None, "shuffle": False
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: m\nseqlen: 3", "FILE:2: unknown setting 'seqlen', did you mean 'seq_len'?"),
        ("model: m\nlora:\n  rnk: 3", "FILE:3: unknown setting 'lora.rnk', did you mean 'lora.rank'?"),
        ("model: m\nseq_len: many", "FILE:2: seq_len must be a whole number, got 'many'"),
        ("model: m\nseq_len: true", "FILE:2: seq_len must be a whole number, got True"),
        ("model: m\nseq_len: 1.5", "FILE:2: seq_len must be a whole number, got 1.5"),
        ("model: 5", "FILE:1: model must be text, got 5"),
        ("model: m\nlr: -1", "FILE:2: lr must be greater than 0, got -1"),
        ("model: m\nlora: 3", "FILE:2: lora must be a group of settings, got 3"),
        ("model: m\nstop: a", "FILE:2: stop must be a list, got 'a'"),
        ("model: m\nshuffle: on", "FILE:2: shuffle must be true or false, got 'on'"),
        ("model: m\ndtype: bf61", "FILE:2: dtype must be 'auto', 'bf16' or 'fp32', got 'bf61'; did you mean 'bf16'?"),
        ("model: m\nlr: 1\nlr: 2", "FILE:3: 'lr' is given twice, first in line 2"),
        ("model: m\nseq-len: 1\nseq_len: 2", "FILE:3: 'seq_len' is given twice, first in line 2"),
        ("model: m\nweights:\n  a: 1\n  a: 2", "FILE:4: 'a' is given twice, first in line 3"),
        ("model: m\nlora: {rank: 1}\nlora.rank: 2", "FILE:3: 'lora.rank' is given twice, first in line 2"),
        ("model: m\n lr: 1", "FILE:2: not valid YAML: mapping values are not allowed here"),
        ("model: [m", "FILE:1: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("model: m\n\tlr: 1", "FILE:2: not valid YAML: found character '\\t' that cannot start any token"),
        ("- model", "FILE:1: settings are `name: value` lines, got something else"),
        ("model: &a m\ntemplate: *a", "FILE:2: not valid YAML: anchors and aliases are not read here"),
        ("model: !!python/name:os.system x", "FILE:1: the tag 'tag:yaml.org,2002:python/name:os.system' is not read"),
        ("lr: 1", "'model' is not given; give --model"),
        ("model: m\nseq_len: 13", "--seq-len is 13, which nothing divides; give 12 or 14"),
        (
            "verb: pretrain\nmodel: m",
            "FILE:1: these settings are for 'pretrain', not for 'sft'; use chatwright pretrain",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(file: Path, text: str, sentence: str) -> None:
    assert refusal(file, text, verb="sft").startswith(sentence)


def test_a_missing_file_is_told_with_the_nearest_name(file: Path) -> None:
    file.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"recipes\.yaml: there is no such file, did you mean '.*recipe\.yaml'\?"):
        config.resolve(Tiny, file.with_name("recipes.yaml"))
    with pytest.raises(ConfigError, match="there is no folder"):
        config.resolve(Tiny, file / "x" / "recipe.yaml")


def test_a_file_in_another_encoding_is_told_with_its_line(file: Path) -> None:
    file.write_bytes("model: m\ntemplate: Größe\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"recipe\.yaml:2: not UTF-8 text"):
        config.resolve(Tiny, file)
    file.write_bytes(b"model: m\ntemplate: \x00\n")
    with pytest.raises(ConfigError, match=r"recipe\.yaml:2: not valid YAML: it holds a character"):
        config.resolve(Tiny, file)


def test_a_byte_order_mark_and_windows_line_ends_are_no_trouble(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfmodel: m\r\nseq_len: 3\r\n")
    assert config.resolve(Tiny, file).seq_len == 3


def test_a_misspelt_variable_is_an_error_and_another_verbs_is_not() -> None:
    flags = {"model": "m"}
    with pytest.raises(
        ConfigError, match="CHATWRIGHT_SEQLEN: no setting has this name, did you mean CHATWRIGHT_SEQ_LEN"
    ):
        config.resolve(Tiny, environ={"CHATWRIGHT_SEQLEN": "3"}, flags=flags)
    config.resolve(Tiny, None, {"CHATWRIGHT_BETA": "3"}, flags, "", lambda: ["beta"])
    config.resolve(Tiny, environ={"CHATWRIGHT_TEST_DATA": "x", "HF_HOME": "y"}, flags=flags)


def test_a_wrong_value_is_told_by_its_flag_or_variable() -> None:
    with pytest.raises(ConfigError, match=r"^--lora\.rank must be a whole number, got 'eight'$"):
        config.resolve(Tiny, flags={"model": "m", "lora.rank": "eight"})
    with pytest.raises(ConfigError, match=r"^CHATWRIGHT_SEQ_LEN must be a whole number, got ''$"):
        config.resolve(Tiny, environ={"CHATWRIGHT_SEQ_LEN": ""}, flags={"model": "m"})
    with pytest.raises(ConfigError, match=r"^unknown setting 'seqlen', did you mean 'seq_len'"):
        config.resolve(Tiny, flags={"model": "m", "seqlen": 3})


def test_text_can_be_a_list_or_nothing() -> None:
    flags = {"model": "m", "stop": ["a", "b"], "seed": "null"}
    assert config.resolve(Tiny, flags=flags).stop == ("a", "b")
    assert config.resolve(Tiny, flags=flags).seed is None
    for text, stop in (('["a", "b"]', ("a", "b")), ("a", ("a",)), ("1", ("1",))):
        assert config.resolve(Tiny, environ={"CHATWRIGHT_STOP": text}, flags={"model": "m"}).stop == stop
    assert config.resolve(Tiny, flags={"model": "123", "lr": "1e-4"}).lr == 1e-4


def test_settings_are_frozen_and_refuse_unknown_names() -> None:
    settings = Tiny(model="m")
    with pytest.raises(ValueError, match="frozen"):
        settings.lr = 3.0
    with pytest.raises(ValueError, match="Extra inputs"):
        Tiny(model="m", seqlen=3)  # type: ignore[call-arg]


WORDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    st.sampled_from(
        ["on", "yes", "1e-4", "010", "null", "~", "", "- a", "# x", "a: b", "2020-01-01", "0x1F", ".inf", "=", "<<"]
    ),
    st.text("\n\t :#'\"\\[]{}&*!|>%@`x1", max_size=12),
)


@given(
    model=WORDS,
    stop=st.lists(WORDS, max_size=3),
    template=st.none() | WORDS,
    lr=st.floats(min_value=0, exclude_min=True, allow_nan=False),
    seed=st.none() | st.integers(),
)
def test_a_saved_config_given_back_is_the_same_run(
    model: str,
    stop: list[str],
    template: str | None,
    lr: float,
    seed: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = Tiny(model=model, stop=tuple(stop), template=template, lr=lr, seed=seed, lora=Lora(rank=3))
    file = tmp_path_factory.getbasetemp() / "config.yaml"
    file.write_text(config.dump(settings, {"versions": {"torch": "2"}, "seqlen": 3}, verb="sft"), encoding="utf-8")
    assert config.resolve(Tiny, file, verb="sft") == settings
    others = yaml.safe_load(file.read_text(encoding="utf-8"))  # a reader of YAML 1.1 sees the same texts
    assert (others["model"], others["stop"], others["template"]) == (model, stop, template)


def test_a_run_folder_stands_for_its_config(file: Path) -> None:
    settings = Tiny(model="m", seq_len=9, json=True)
    file.with_name("config.yaml").write_text(config.dump(settings, {"seed": 1}), encoding="utf-8")
    again = config.resolve(Tiny, file.parent)
    assert again.seq_len == 9
    assert not again.json, "how the result was printed is no part of the run"
