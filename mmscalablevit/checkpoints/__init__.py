"""Reading checkpoints safely, and converting released weights."""

from mmscalablevit.checkpoints.reading import (
    Checkpoint,
    CheckpointError,
    find_state_dict,
    load_file,
    use_safe_loading,
)

__all__ = ["Checkpoint", "CheckpointError", "find_state_dict", "load_file", "use_safe_loading"]
