"""The one exception for what a user can put right."""

#: How a message ends that tells of work which `--resume` does not go on from, from whatever
#: worker it comes.
BEGIN_ANEW = "leave out --resume to begin anew."


class InputError(ValueError):
    """A mistake in what the user gave.

    Its message is one sentence: which file, which field or row, what was expected, what to do.
    The command line prints it without a traceback and exits 2.
    """
