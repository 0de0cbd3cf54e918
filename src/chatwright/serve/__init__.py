"""The OpenAI API over the scheduler: what is asked, who may ask, and how the answers go back over HTTP."""
