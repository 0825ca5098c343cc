"""The two ways a run ends badly without being our fault."""


class UserError(ValueError):
    """A mistake in what the user asked for: one sentence that names key, value and remedy; exit code 2."""

    def __init__(self, sentence):
        super().__init__(str(sentence).replace("\r", "\\r").replace("\n", "\\n"))  # a quoted value may hold lines


class LaunchError(UserError):
    """The ranks were not started the way MPI needs them."""
