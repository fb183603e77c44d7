"""The one exception for what a user can put right."""


class InputError(ValueError):
    """A mistake in what the user gave.

    Its message is one sentence: which file, which field or row, what was expected, what to do.
    The command line prints it without a traceback and exits 2.
    """
