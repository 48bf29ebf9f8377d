"""What goes wrong on somebody's machine."""

#: The way out, where nothing else helps.
AFRESH = "`rm -rf .local` starts afresh, without the notes"


class Problem(Exception):
    """One sentence for the person at the terminal: what is wrong and what to do."""
