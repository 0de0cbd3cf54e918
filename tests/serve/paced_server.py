"""A server in a process of its own over a model that talks without end: `python paced_server.py '{"pause": 0.02}'`.

It prints its address, and ends by signals as `chatwright serve` does. For tests that measure, and that kill.
"""

import json
import sys

from paced_model import paced, served
from tiny_models import tiny_tokenizer

from chatwright.generate.capacity import Capacity
from chatwright.generate.scheduler import Scheduler
from chatwright.serve.catalogue import Catalogue
from chatwright.serve.limits import Limits
from chatwright.serve.server import Door, Server, listen


def main(pause: float = 0.02, rows: int = 32, waiting: int = 128, drain: float = 30.0, window: int = 100_000) -> int:
    models = {"m": paced(pause=pause, window=window), "words": paced(tiny_tokenizer(), pause=pause, window=window)}
    catalogue = Catalogue([served(name, one) for name, one in models.items()], {})
    scheduler = Scheduler(catalogue.checkpoints, Capacity(max_batch=rows, chunk=256), max_waiting=waiting, device="cpu")
    server = Server(listen("127.0.0.1", 0), Limits(requests=rows + waiting), Door(drain_seconds=drain))
    number = server.run(lambda: (catalogue, scheduler), lambda: print(server.address, flush=True))
    return 128 + (number or 0)


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
