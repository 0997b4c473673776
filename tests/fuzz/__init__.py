"""Property-based tests. Their examples are drawn in the same way on every run."""

from hypothesis import HealthCheck, settings


def examples(number: int) -> settings:
    """Draw this many examples, always the same, however long each takes."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
