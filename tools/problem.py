"""What goes wrong on somebody's machine."""


class Problem(Exception):
    """One sentence for the person at the terminal: what is wrong and what to do."""
