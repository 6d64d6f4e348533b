"""What shows how far a measuring is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """The part of a tqdm bar that measuring uses."""

    def update(self, n: int = 1) -> object:
        """Count what is done."""
        ...

    def set_postfix_str(self, text: str, refresh: bool = True) -> object:
        """Show the state of the device."""
        ...

    def close(self) -> object:
        """End the display."""
        ...
