"""Property-based tests. Their examples are drawn in the same way on every run."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def examples(number: int) -> settings:
    """Draw this many examples, always the same, however long each takes."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut a file, or change, double or remove some of its bytes."""
    changed = bytearray(content or b"\0")
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(changed) - 1))
        action = draw(st.sampled_from(["flip", "set", "cut", "remove", "repeat", "swap"]))
        if action == "flip":
            changed[place] ^= 1 << draw(st.integers(0, 7))
        elif action == "set":
            changed[place] = draw(st.integers(0, 255))
        elif action == "cut":
            del changed[max(1, place) :]
        else:
            piece = changed[place : place + draw(st.integers(1, 40))]
            if action == "remove" and len(changed) > len(piece):
                del changed[place : place + len(piece)]
            elif action == "repeat":
                changed[place:place] = piece
            else:
                changed[place : place + len(piece)] = piece[::-1]
    return bytes(changed)
