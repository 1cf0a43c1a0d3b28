"""What goes wrong through no fault of the program."""


class UserError(Exception):
    """One sentence that says what was wrong, with which file, column, task or option; what to do.

    The command line shows it without a traceback.
    """
