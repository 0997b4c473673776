"""Reading checkpoints safely, and converting released weights."""

from mmscalablevit.checkpoints.reading import (
    CheckpointError,
    allow_mmengine_checkpoints,
    find_state_dict,
    load_file,
    use_safe_loading,
)

__all__ = [
    "CheckpointError",
    "allow_mmengine_checkpoints",
    "find_state_dict",
    "load_file",
    "use_safe_loading",
]
