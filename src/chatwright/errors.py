"""What can go wrong for a user, each with the exit code that the command line ends with.

ChatwrightError            1   failed while running
├── ConfigError            2   wrong usage or settings (a ValueError)
│   └── DataError          2   a bad row, file or folder, by file and line
│       └── LeftOut        2   a row with nothing to learn, listed as filtered
├── NotFinite              3   the loss or a gradient is NaN or infinite
├── NoCheckpoint           4   no usable checkpoint
├── DiskFull               5   nothing half-written is left
└── RedProof               6   a proof is red; the model is saved
"""


class ChatwrightError(Exception):
    """One sentence for the user: what is wrong, where, what to do next."""

    exit_code = 1


class ConfigError(ChatwrightError, ValueError):
    """Wrong usage, settings or names."""

    exit_code = 2


class DataError(ConfigError):
    """Data that cannot be read or learned from."""


class LeftOut(DataError):
    """Nothing is wrong with the row, but it teaches nothing: it is listed as filtered, and does not count as bad."""


class NotFinite(ChatwrightError):
    """The loss or the gradient stopped being a number."""

    exit_code = 3


class NoCheckpoint(ChatwrightError):
    """Every checkpoint is missing, torn or corrupt."""

    exit_code = 4


class DiskFull(ChatwrightError):
    """The disk (or the quota) has no room left."""

    exit_code = 5


class RedProof(ChatwrightError):
    """Something the run set out to prove does not hold."""

    exit_code = 6
