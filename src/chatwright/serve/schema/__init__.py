"""OpenAI's field names: requests in, replies and chunks out. No other folder knows them."""
