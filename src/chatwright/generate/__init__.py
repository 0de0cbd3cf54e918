"""From a prompt to text: sampling, the engine that decodes many sequences at once, and the chatbot on top."""
