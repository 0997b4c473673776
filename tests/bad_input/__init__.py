"""What goes wrong with configs, checkpoints, data and machines, and what the user then sees.

Each case makes one mistake in a small project and returns the messages that are shown. Its title is
that of a row in ``docs/errors.md``, which holds the message.
"""
