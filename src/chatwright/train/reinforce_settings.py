"""The settings of the verbs that reinforce what a policy says itself."""

from pydantic import Field

from chatwright.data.settings import Names
from chatwright.train.settings import Guards, TuneSettings


class ReinforceSettings(TuneSettings):
    """What a verb is given that asks a policy problems, and makes likelier what earns more."""

    task: Names = Field(
        default=[], description="tasks whose practice problems are asked, and whose question sets are held out"
    )
    data: Names = Field(
        default=[],
        description="in place of a task: files, folders or hub datasets of problems, part of which is held out",
    )
    steps: int | None = Field(default=300, ge=1, description="optimizer steps")
    batch_size: int = Field(default=16, ge=1, description="prompts of a round")
    group: int = Field(default=8, ge=1, description="answers to each prompt")
    max_tokens: int = Field(default=48, ge=1, description="longest answer, in tokens")
    temperature: float = Field(default=1.0, gt=0, le=100, description="of the answers that are learned from")
    lr: float = Field(
        default=2e-4,
        gt=0,
        allow_inf_nan=False,
        description="highest learning rate; lower for more than some million weights",
    )
    beta: float = Field(default=0.0, ge=0, description="how dear it is to leave the start model; 0 does not ask it")
    clip: float = Field(
        default=0.2, gt=0, lt=1, description="how far the probability of a token may fall in a round, as a share"
    )
    clip_high: float | None = Field(default=None, gt=0, description="how far it may rise; as --clip if not given")
    updates: int = Field(default=1, ge=1, description="steps that learn from the same round")
    length_penalty: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="reward that an answer of --max-tokens loses"
    )
    grader_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="of the task's grades in a reward")
    reward: str | None = Field(default=None, description="a reward model that scores the answers as well")
    reward_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="of its scores in a reward")
    max_problems: int | None = Field(
        default=None, ge=1, description="ask at most so many of each held-out set, before and after"
    )
    rehearse_data: Names = Field(
        default=[], description="conversations and documents to rehearse in every step, so that nothing is forgotten"
    )
    rehearse: float = Field(default=0.5, ge=0, allow_inf_nan=False, description="weight of their loss, a token's mean")
    quick: bool = Field(default=False, description="20 steps on 100 problems")
    compare: bool = Field(default=True, description="ask start and result the held-out problems at the end")
    guards: Guards = Guards()
