"""What is counted, as Prometheus reads it. Labels are names of ours alone: nobody can make the table grow by asking."""

import logging
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chatwright.generate.scheduler import Figures
from chatwright.serve.log import LOG, logged, trace

PATHS = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics", "/version", "/tokenize"}
)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
GAUGES = {
    "active": "Sequences that are being decoded",
    "waiting": "Sequences in the queue",
    "kv_held": "Tokens that the key-value caches have room for now",
    "prefix_held": "Tokens that are kept of earlier sequences",
}
COUNTERS = {
    "finished": "Sequences that ended by themselves or at a limit",
    "failed": "Sequences that ended with an error",
    "cancelled": "Sequences whose client went away",
    "prompt_tokens": "Tokens of prompts",
    "generated_tokens": "Tokens of answers",
    "reused_tokens": "Tokens of prompts that had been read before",
}


class Metrics:
    """The counts of one server."""

    def __init__(self, figures: Callable[[], Figures | None]) -> None:
        """`figures` are the scheduler's, or None while there is no scheduler."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "chatwright_requests", "Answered requests", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "chatwright_request_seconds", "A whole request", ["path"], buckets=SECONDS, registry=self._registry
        )
        self.first_token = Histogram(
            "chatwright_first_token_seconds", "To the first token", buckets=SECONDS, registry=self._registry
        )
        self.between_tokens = Histogram(
            "chatwright_between_tokens_seconds", "From token to token", buckets=SECONDS, registry=self._registry
        )
        self._registry.register(_Scheduled(figures))

    def answered(self, path: str, status: int, seconds: float) -> None:
        """One request has ended; status 0 when its client went away before there was an answer."""
        known = path if path in PATHS else ("/v1/models/{id}" if path.startswith("/v1/models/") else "other")
        self._requests.labels(known, str(status or 499)).inc()
        self._seconds.labels(known).observe(seconds)
        level = logging.INFO if path not in ("/health", "/metrics") else logging.DEBUG
        LOG.log(level, "%s %s %.3f s", logged(path), status or 499, seconds)

    def engine_failed(self, error: Exception) -> None:
        """A sequence ended with an error that is not its client's."""
        LOG.error("a sequence failed: %s", trace(error))

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self._registry)


class _Scheduled(Collector):
    """The scheduler's figures, read when they are asked for."""

    def __init__(self, figures: Callable[[], Figures | None]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        found = {} if figures is None else vars(figures)
        for name, says in GAUGES.items():
            yield GaugeMetricFamily(f"chatwright_{name}", says, value=found.get(name) or 0)
        for name, says in COUNTERS.items():
            yield CounterMetricFamily(f"chatwright_{name}", says, value=found.get(name) or 0)
