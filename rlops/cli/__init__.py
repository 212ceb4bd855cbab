"""The command line: one small module a verb; ``__main__`` is the one error boundary."""
