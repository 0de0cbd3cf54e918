"""What the model learns: one file an objective, named as the verb that runs it."""

SHARED = ("protocol", "logprobs", "answering", "preference", "reference", "reinforcing", "rollouts", "unlikelihood")
