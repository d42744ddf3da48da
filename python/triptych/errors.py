"""What people are told: where, the rule, the values found, the remedy."""


class FormatError(ValueError):
    """A file is not what its format says, or is of a kind that this package does not read."""

    def __init__(self, where, what):
        super().__init__(f"[{where}] {what}")


class UnsupportedError(FormatError):
    """A sound file of a kind that this package does not read, though the program does."""
