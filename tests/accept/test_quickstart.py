"""The quickstart held to its table, but for time: medians of three seeds, from the installed command. (make accept)"""

import resource
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatwright import registry
from chatwright.tasks.primer.classic import CLASSIC_PROMPTS, Classic

pytestmark = pytest.mark.accept


def median(runs: list[dict[str, Any]], figure: Callable[[dict[str, Any]], float]) -> float:
    return statistics.median(figure(one) for one in runs)


def accuracy(run: dict[str, Any], stage: str, questions: str) -> float:
    return float(run["stages"][stage]["accuracy"][questions]["accuracy"])


@pytest.mark.parametrize(
    ("questions", "at_least", "n"), [("phrasings", 0.95, 200), ("never_asked", 0.70, 100), ("follow_ups", 0.80, 50)]
)
def test_the_chatbot_answers_questions_that_it_was_never_taught(
    runs: list[dict[str, Any]], questions: str, at_least: float, n: int
) -> None:
    assert all(one["stages"]["sft"]["accuracy"][questions]["n"] >= n for one in runs)
    assert median(runs, lambda one: accuracy(one, "sft", questions)) >= at_least


def test_the_base_model_answers_little(runs: list[dict[str, Any]]) -> None:
    """It has read every fact, so now and then it goes on with the right statement: 1 to 22 % were seen."""
    assert median(runs, lambda one: one["before"]["accuracy"]["phrasings"]["accuracy"]) <= 0.4


def test_arithmetic_leaves_room_for_practice(runs: list[dict[str, Any]]) -> None:
    """Tuned to 40 to 70 %; the row has no target, so only leaving that far behind is a failure."""
    assert 0.25 <= median(runs, lambda one: accuracy(one, "sft", "arithmetic")) <= 0.7


def test_preferences_halve_the_bad_manners_that_fine_tuning_imitates(runs: list[dict[str, Any]]) -> None:
    """On 500 open requests at temperature 1: answers that loop, run on or speak for the user."""
    assert all(one["stages"]["sft"]["accuracy"]["open"]["n"] == 500 for one in runs)
    before, after = (
        median(runs, lambda one, stage=stage: 1 - accuracy(one, stage, "open")) for stage in ("sft", "dpo")
    )
    assert before >= 0.10
    assert after <= before / 2


@pytest.mark.parametrize("questions", ["phrasings", "unseen_phrasings", "never_asked", "follow_ups"])
def test_preferences_and_practice_cost_little_knowledge(runs: list[dict[str, Any]], questions: str) -> None:
    """Beyond what 250 questions can tell: a median lower by more than that is forgetting."""
    fine_tuned = median(runs, lambda one: accuracy(one, "sft", questions))
    assert median(runs, lambda one: accuracy(one, "dpo", questions)) >= fine_tuned - 0.06
    assert median(runs, lambda one: accuracy(one, "grpo", questions)) >= fine_tuned - 0.12


def test_practice_raises_held_out_arithmetic_by_twenty_points(runs: list[dict[str, Any]]) -> None:
    gained = median(runs, lambda one: accuracy(one, "grpo", "arithmetic") - accuracy(one, "sft", "arithmetic"))
    assert gained >= 0.20
    assert median(runs, lambda one: 1 - accuracy(one, "grpo", "open")) <= 0.05


def test_answers_stop_do_not_loop_and_do_not_speak_for_the_user(runs: list[dict[str, Any]]) -> None:
    assert median(runs, lambda one: one["after"]["stop_rate"]) >= 0.99
    assert median(runs, lambda one: one["after"]["loop_rate"]) <= 0.01
    assert median(runs, lambda one: one["after"]["leak_rate"]) <= 0.005


@pytest.mark.parametrize("prompt", CLASSIC_PROMPTS, ids=lambda prompt: prompt.turns[-1])
def test_a_classic_prompt_is_answered_rightly(runs: list[dict[str, Any]], prompt: Classic) -> None:
    """Paris, a true sentence, code that runs and is right, a numbered list, the Engineer after the Scientist."""
    grade = registry.load("tasks", prompt.grader).grade
    assert median(runs, lambda one: grade(one["answers"][prompt.turns[-1]], prompt.answer)) == 1


def test_no_proof_is_red(runs: list[dict[str, Any]]) -> None:
    assert all("red" not in one["proofs"].values() for one in runs), [one["proofs"] for one in runs]


def test_the_whole_road_fits_into_a_gigabyte_and_a_half(runs: list[dict[str, Any]]) -> None:
    assert len(runs) == 3
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest child
    assert kilobytes <= 1.5e6


def test_transformers_gives_the_same_greedy_answers(runs: list[dict[str, Any]]) -> None:
    """The folder as others load it: their model, their tokenizer, their template, their stopping."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from chatwright import Chatbot

    folder = Path(runs[0]["out"]) / "grpo" / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    bot = Chatbot.load(folder, device="cpu")
    for question in (*runs[0]["answers"], "And what is the capital of Spain?", "Hello!"):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = model.generate(**prompt, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        assert tokenizer.decode(ids, skip_special_tokens=True) == "".join(bot.reply(question))
