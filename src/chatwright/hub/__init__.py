"""Models from the Hugging Face hub (or the one that HF_ENDPOINT names), in the cache of its own client.

The client asks, lists and links. The bytes are fetched here: a file goes on where it stopped, in the next run too, and
enters the cache once its checksum is right.
"""

from chatwright.hub.download import download
from chatwright.hub.names import is_about_model, is_cache, is_model_file, is_repo_id, split
from chatwright.hub.sentences import explained
from chatwright.hub.token import token_of
from chatwright.hub.upload import Pushed, upload

__all__ = [
    "Pushed",
    "download",
    "explained",
    "is_about_model",
    "is_cache",
    "is_model_file",
    "is_repo_id",
    "split",
    "token_of",
    "upload",
]
