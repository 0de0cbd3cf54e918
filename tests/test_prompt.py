"""What of a conversation is read when not all of it fits: as much as the simple loop would keep, for fewer renders."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_checkpoint

from chatwright.checkpoint import Checkpoint
from chatwright.errors import ConfigError
from chatwright.generate.prompt import fit, prompt_ids
from chatwright.text.records import Conversation, conversation

WINDOW = 128


@pytest.fixture(scope="module", params=["chatml", "plain"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return tiny_checkpoint(request.param, n_positions=WINDOW)


def by_one(checkpoint: Checkpoint, talk: Conversation, reserve: int) -> tuple[Conversation, int] | None:
    """One exchange less each time until it fits; None where even the newest message does not."""
    system = talk.messages[:1] if talk.messages[0].role == "system" else ()
    for start in range(len(system), len(talk), 2):
        kept = Conversation((*system, *talk.messages[start:]), talk.source)
        if len(prompt_ids(checkpoint, kept)) + min(reserve, WINDOW // 4) <= WINDOW:
            return kept, start - len(system)
    return None


TURNS = st.lists(st.text("a é\n:🙂", max_size=40).map(lambda text: f"say {text}"), min_size=1, max_size=23)


@given(turns=TURNS, system=st.sampled_from(["", "Be kind.", "Be kind. " * 20]), reserve=st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_as_many_exchanges_go_as_when_they_go_one_by_one(
    checkpoint: Checkpoint, turns: list[str], system: str, reserve: int
) -> None:
    talk = conversation(*turns[: len(turns) - (len(turns) + 1) % 2], system=system)  # the user speaks last
    expected = by_one(checkpoint, talk, reserve)
    if expected is None:
        with pytest.raises(ConfigError, match="shorten it"):
            fit(checkpoint, talk, reserve)
    else:
        assert fit(checkpoint, talk, reserve) == expected


@pytest.mark.parametrize(("window", "most"), [(50_000, 1), (4000, 11), (64, 12)])
def test_a_thousand_messages_are_rendered_a_dozen_times(window: int, most: int) -> None:
    """All fit, half of them go, not even the newest fits: a prompt is never rendered once for each exchange."""
    checkpoint: Any = tiny_checkpoint("chatml", n_positions=window)
    render, renders = checkpoint.render, []
    checkpoint.render = lambda talk, **given: (renders.append(len(talk)), render(talk, **given))[1]
    turns = [f"number {number}" for number in range(1022)] + ["word " * 20]
    talk = conversation(*turns, system="Be kind.")
    if window == 64:
        with pytest.raises(ConfigError):
            fit(checkpoint, talk, 16)
    else:
        kept, dropped = fit(checkpoint, talk, 16)
        assert len(kept) == 1024 - dropped
        assert (dropped > 0) == (window == 4000)
    assert 1 <= len(renders) <= most
