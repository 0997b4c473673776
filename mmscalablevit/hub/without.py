"""In place of huggingface_hub's mixin, where that is not installed."""

from __future__ import annotations

from typing import Any, NoReturn


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise ImportError("this needs huggingface_hub: pip install 'mmscalablevit[hub]'")


class PyTorchModelHubMixin:
    """Takes the settings of huggingface_hub's, and says what is missing."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__()

    save_pretrained = push_to_hub = _refuse
    from_pretrained = staticmethod(_refuse)
