"""What training and testing need beyond MMEngine's Runner.

Importing this registers the hooks, metrics and optimizer wrappers of the command-line tools.
"""

from .amp import BFloat16OptimWrapper
from .errors import UsageError
from .evaluation import available_metrics, select_metrics
from .hooks import MatchingCheckpointHook, SavePicturesHook
from .outputs import ClassificationResults

__all__ = [
    "BFloat16OptimWrapper",
    "ClassificationResults",
    "MatchingCheckpointHook",
    "SavePicturesHook",
    "UsageError",
    "available_metrics",
    "select_metrics",
]
