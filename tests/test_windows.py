from __future__ import annotations

import numpy as np

from dlcodec.windows import SIDE, most_different
from tests.conftest import RGB


def test_the_window_is_where_the_error_is(photo: RGB) -> None:
    decoded = photo.copy()
    decoded[310:320, 420:440] ^= 255
    rows, columns = most_different(photo, [decoded])
    assert rows.start <= 310 < 320 <= rows.stop
    assert columns.start <= 420 < 440 <= columns.stop
    assert (rows.stop - rows.start, columns.stop - columns.start) == (SIDE, SIDE)


def test_a_picture_smaller_than_the_window_is_shown_whole(photo: RGB) -> None:
    assert most_different(photo[:20, :30], [photo[:20, :30] ^ 255]) == (slice(0, 20), slice(0, 30))


def test_the_errors_of_several_pictures_are_added() -> None:
    black = np.zeros((20, 30, 3), np.uint8)
    one, two, three = black.copy(), black.copy(), black.copy()
    one[0, 0] = 100
    two[19, 29] = three[19, 29] = 80
    assert most_different(black, [one, two], side=1) == (slice(0, 1), slice(0, 1))
    assert most_different(black, [one, two, three], side=1) == (slice(19, 20), slice(29, 30))
