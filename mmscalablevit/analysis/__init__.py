"""Measurements of models: parameters and multiply-accumulates."""

from mmscalablevit.analysis.complexity import Complexity, count_complexity, count_parameters

__all__ = ["Complexity", "count_complexity", "count_parameters"]
