"""Metrics that configs name, and what a test writes."""
