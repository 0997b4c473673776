"""What the tests of the tables share."""

from __future__ import annotations

import pytest

from mmscalablevit.reproduction.counting import Counter


@pytest.fixture(scope="session")
def counter() -> Counter:
    """A counter that remembers: the tests count each model once between them."""
    return Counter()
