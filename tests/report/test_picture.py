import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.report.picture import picture

CODES = {
    "·": (0, 0),
    "▄": (0, 1),
    "▀": (1, 0),
    "█": (1, 1),
    ".": (0, 0),
    "_": (0, 1),
    "^": (1, 0),
    "#": (1, 1),
}


@st.composite
def images(draw):
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    size = shape[0] * shape[1]
    return shape, sorted(draw(st.sets(st.integers(0, size - 1))))


@given(images(), st.booleans())
def test_every_kept_pixel_can_be_read_back_from_the_picture(image, unicode):
    (height, width), keep = image
    lines = picture(keep, (height, width), width=100, unicode=unicode)
    if height <= 28:  # a pixel is two characters
        kept = [[line.ljust(2 * width)[2 * x] in "█#" for x in range(width)] for line in lines]
    else:  # a character is two pixels
        kept = [[bool(CODES[sign][half]) for sign in line] for line in lines for half in (0, 1)]
        assert not any(map(any, kept[height:]))
    assert np.flatnonzero(np.array(kept[:height])).tolist() == keep


def test_half_blocks_serve_where_two_characters_a_pixel_are_too_wide():
    assert picture([0, 3], (2, 2), width=4) == ["██·", "· ██"]
    assert picture([0, 3], (2, 2), width=3) == ["▀▄"]


@pytest.mark.parametrize("shape", [(200, 300), (3, 64, 200), (1, 5, 999)])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_wider_than_the_text(shape, unicode):
    lines = picture(range(int(np.prod(shape))), shape, width=60, unicode=unicode)
    assert max(map(len, lines)) <= 60
    assert set("".join(lines[:-1])) <= set("█" if unicode else "#") | set("▒░-+")


def test_coarse_cells_tell_none_few_and_all():
    wide = np.zeros((4, 80), dtype=bool)
    wide[:, :2] = True
    wide[0, 2] = True
    lines = picture(np.flatnonzero(wide).tolist(), (4, 80), width=40)
    assert lines[0] == "█░" + 38 * "·"
    assert "4 x 2" in lines[1]


def test_channels_are_counted_for_each_pixel():
    # pixel (0, 0) in two channels, pixel (1, 1) in one of three
    assert picture([0, 4, 11], (3, 2, 2), width=80) == ["2 ·", "· 1"]
    many = [4 * channel for channel in range(12)]
    assert picture(many, (12, 2, 2), width=2) == ["+·", "··"]


def test_one_channel_is_drawn_as_pixels():
    assert picture([1], (1, 2, 2), width=80) == picture([1], (2, 2), width=80)


@pytest.mark.parametrize(
    ("keep", "shape", "says"),
    [
        ([4], (2, 2), r"kept indices must lie in 0\.\.3, but got 4\.\.4"),
        ([-1], (2, 2), r"kept indices must lie in 0\.\.3, but got -1\.\.-1"),
        ([0], (4,), r"needs the shape \(h, w\) or \(c, h, w\), but got \(4,\)"),
        ([], (2, 0), r"needs the shape \(h, w\) or \(c, h, w\), but got \(2, 0\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(keep, shape, says):
    with pytest.raises(ValueError, match=says):
        picture(keep, shape, width=80)
