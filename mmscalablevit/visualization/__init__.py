"""Pictures of what a model does: ``tools/visualize.py``."""
