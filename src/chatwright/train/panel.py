"""The panel: looks at a policy on held-out prompts while it is trained, and says when it becomes worse than it was.

What validation finds over pairs comes in; the policy's own answers are sampled here and held against the start model.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from chatwright import console
from chatwright.checkpoint import Checkpoint
from chatwright.data.answers import laid_out
from chatwright.errors import ConfigError
from chatwright.evals import guards, health
from chatwright.evals.guards import Alarm, Reading
from chatwright.evals.loss import LossReport
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.completion import Completion
from chatwright.generate.sampling import Sampling
from chatwright.objectives.logprobs import answer_logprobs
from chatwright.objectives.reference import Reference, start_logprobs
from chatwright.objectives.rollouts import as_tokens
from chatwright.text.records import Conversation

Grade = Callable[[Sequence[Completion]], list[float]]
NOTHING_SAMPLED: dict[str, Any] = dict.fromkeys(
    ("kl", "words", "tokens", "stop_rate", "loop_rate", "leak_rate"), math.nan
) | {"n": 0}
AT_ONCE = 16  # answers whose log-probabilities are computed together


class Panel:
    """`prompts` end with the user's turn; `grade` gives the rewards of the answers to them, where there are any.

    `remedies` are the settings that its alarms may name. `readings` and `alarms` are those of the run so far.
    """

    def __init__(
        self,
        policy: Checkpoint,
        prompts: Sequence[Conversation],
        sampling: Sampling,
        reference: Reference | None,
        grade: Grade | None = None,
        remedies: Collection[str] = guards.REMEDIES,
    ) -> None:
        self.policy, self.reference, self.grade, self.remedies = policy, reference, grade, remedies
        self.prompts, self.sampling = list(prompts), sampling
        self.readings: list[Reading] = []
        self.alarms: list[Alarm] = []

    def recall(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Takes up the readings of a run that is gone on with; what was alarming then is said again in its proof."""
        self.readings = guards.readings(rows)
        self.alarms = [alarm for one in self.readings[1:] for alarm in self._alarms(one)]

    def look(self, step: int, found: LossReport | None) -> tuple[dict[str, Any], str, list[str]]:
        """The row for metrics.jsonl, a line for people, and the alarms that were not raised before."""
        reading = self._reading(step, found)
        self.readings.append(reading)
        raised = self._alarms(reading) if len(self.readings) > 1 else []
        known = {alarm.name for alarm in self.alarms}
        self.alarms += raised
        new = [alarm.says for alarm in raised if alarm.name not in known]
        return guards.as_row(reading), guards.line(reading), new

    def _alarms(self, reading: Reading) -> list[Alarm]:
        return guards.alarms(self.readings[0], reading, remedies=self.remedies)

    def _reading(self, step: int, found: LossReport | None) -> Reading:
        """Pairs as validation found them, and what the policy says itself."""
        told = found.metrics if found is not None else {}
        chosen, rejected = _gained(told)
        pairs = Reading(
            step=step,
            accuracy=told.get("accuracy", math.nan),
            margin=told.get("margin", math.nan),
            chosen=chosen,
            rejected=rejected,
            **NOTHING_SAMPLED,
            pairs=found.count if found is not None else 0,
        )
        return replace(pairs, **self._sampled()) if self.prompts else pairs

    def _sampled(self) -> dict[str, Any]:
        """The fields of a Reading that the policy's own answers give."""
        model = self.policy.model
        training = model.training
        bot = Chatbot(self.policy, device=str(next(model.parameters()).device))
        try:
            prompts = self._fitting(bot)
            # a seed each, or all answers would be drawn with the same luck
            ways = [replace(self.sampling, seed=self.sampling.seed + number) for number in range(len(prompts))]
            answers = bot.replies(prompts, ways)
            kl = self._kl(prompts, answers) if self.reference is not None else math.nan
        finally:
            model.train(training)
        if not answers:
            return NOTHING_SAMPLED
        seen = health.measure(answers)
        tokens = sum(len(one.ids) for one in answers) / len(answers)
        reward = float(np.mean(self.grade(answers))) if self.grade is not None else math.nan
        shares = {"stop_rate": seen.stop_rate, "loop_rate": seen.loop_rate, "leak_rate": seen.leak_rate}
        return {"kl": kl, "words": seen.mean_words, "tokens": tokens, **shares, "n": len(answers), "reward": reward}

    def _fitting(self, bot: Chatbot) -> list[Conversation]:
        """The prompts that leave room for an answer; how many others there are is said at the first look."""
        found = []
        for one in self.prompts:
            with suppress(ConfigError):
                found.append(bot.fit(one, self.sampling.max_tokens)[0])
        others = len(self.prompts) - len(found)
        if others and not self.readings:
            console.note(f"{others} of {len(self.prompts)} held-out prompts fill the window; the panel leaves them out")
        return found

    @torch.no_grad()
    def _kl(self, prompts: Sequence[Conversation], answers: Sequence[Completion]) -> float:
        """Mean over the policy's own answers of log p - log p_start, whole answers: Schulman's (2020) k1."""
        assert self.reference is not None
        asked = [self.policy.render(prompt, reply=True).ids for prompt in prompts]
        said = [as_tokens(before, answer) for before, answer in zip(asked, answers, strict=True)]
        said = [one for one in said if one.mask.any()]
        total = 0.0
        device = next(self.policy.model.parameters()).device
        for first in range(0, len(said), AT_ONCE):
            some = said[first : first + AT_ONCE]
            batch = laid_out([[one] for one in some], torch.zeros(len(some)), None, {}).to(device)
            gained = answer_logprobs(self.policy.model, batch).total - start_logprobs(self.reference, batch)
            total += float(gained.sum())
        return total / len(said) if said else math.nan


def _gained(told: Mapping[str, float]) -> tuple[float, float]:
    """By how many nats chosen and rejected answers became likelier. Of a pair there is one each; where answers were rated
    one by one, the sums over them are told with the share of the good ones."""
    if "good" not in told:
        return told.get("chosen", math.nan), told.get("rejected", math.nan)
    good, bad = told["good"], 1 - told["good"]
    return told["good_gained"] / good if good else math.nan, told["bad_gained"] / bad if bad else math.nan
