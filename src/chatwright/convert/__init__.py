"""Old checkpoints, pickled or under other names, become the Hugging Face folder; nothing else here opens a pickle."""
