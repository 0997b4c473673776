"""Predictions on images of the user's: ``tools/predict.py``."""
