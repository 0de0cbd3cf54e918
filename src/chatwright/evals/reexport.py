"""The export proof: what was written for other programs, read again, gives the same greedy text as what it was made from.

Both read the original's own answers; where their next tokens differ, the original's two best must have been as good as equal.
"""

import torch

from chatwright.checkpoint import Checkpoint
from chatwright.errors import ConfigError
from chatwright.evals import prompts
from chatwright.evals.proofs import Proof
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling

TOKENS = 48  # of each answer
EQUAL = {"fp32": 1e-3, "fp16": 5e-3, "bf16": 2e-2}  # how near two logits are by rounding alone, relative to the largest


def proof(original: Checkpoint, exported: Checkpoint, dtype: str) -> Proof:
    """Greedy answers to the classic prompts, compared token by token; `dtype` is the precision that was written."""
    bot = Chatbot(original, device="cpu")
    asked = [prompt.history([]) for prompt in prompts.default()]
    try:
        answers = bot.replies(asked, Sampling(max_tokens=TOKENS))
    except ConfigError as error:
        return Proof("export", "not run", f"The classic prompts cannot be asked: {error}.")
    exported.model.eval()
    compared = differing = apart = 0
    largest = 0.0
    for conversation, answer in zip(asked, answers, strict=True):
        prompt = original.render(conversation, reply=True).ids
        if exported.render(conversation, reply=True).ids != prompt:
            return Proof("export", "red", f"the export turns {conversation.first_user!r} into other ids.")
        ids = torch.tensor([[*prompt, *answer.ids]])[:, : original.model.config.context_length]
        with torch.no_grad():
            first, second = (one.model(ids)[0, len(prompt) - 1 :].float() for one in (original, exported))
        largest = max(largest, float((first - second[:, : first.shape[1]]).abs().max()))
        margin = EQUAL[dtype] * max(1.0, float(first.abs().max()) if dtype != "fp32" else 1.0)
        best = first.topk(2, dim=-1)
        other = best.indices[:, 0] != second.argmax(dim=-1)
        compared += len(first)
        differing += int(other.sum())
        apart += int((other & (best.values[:, 0] - best.values[:, 1] > margin)).sum())
    figures = {"tokens": compared, "differing": differing, "clearly": apart, "largest_logit_difference": largest}
    says = f"{compared} greedy tokens compared, {differing} differ"
    if apart:
        return Proof("export", "red", f"{says}, {apart} of them where the original was certain.", figures)
    ties = ", each where the original's two best were as good as equal" if differing else ""
    return Proof("export", "green", f"{says}{ties}; the logits differ by {largest:.1e} at most.", figures)
