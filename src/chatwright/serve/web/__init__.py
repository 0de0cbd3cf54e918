"""The chat page in the browser: static files, a blind arena, and the API of the server behind both."""
