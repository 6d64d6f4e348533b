"""The subcommands of `latlas`, one module each, with the command named ``main``."""
