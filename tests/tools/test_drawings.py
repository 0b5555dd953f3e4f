"""Two drawings are the same where they show the same, whatever drew them calls its shapes."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from icd.tools.recheck.drawings import APART, EXACT, same_drawing, same_picture

MARK = '<svg viewBox="0 0 9 9"><path id="a1" d="M {x:.6f} 2"/><use href="#a1"/><text x="3">WIN 5</text></svg>'


def picture(values):
    out = io.BytesIO()
    Image.fromarray(np.asarray(values, np.uint8)).save(out, format="png")
    return out.getvalue()


def test_ids_and_the_last_digits_of_numbers_do_not_matter():
    said = MARK.format(x=1.0)
    again = MARK.format(x=1.0 + EXACT / 2).replace("a1", "b7")
    assert same_drawing(said, again, exact=True) == ""


def test_a_mark_that_moved_is_named():
    assert "'1.000000' where the record gives '2.000000'" in same_drawing(
        MARK.format(x=1.0), MARK.format(x=2.0), exact=True
    )
    assert same_drawing(MARK.format(x=1.0), MARK.format(x=1.0 + APART / 2), exact=False) == ""
    assert same_drawing(MARK.format(x=1.0), MARK.format(x=1.1 + APART), exact=False)


def test_words_and_colours_are_the_same_to_the_letter_for_every_version():
    said = MARK.format(x=1.0)
    assert "it says 'WIN 5'" in same_drawing(said, said.replace("WIN 5", "WIN 6"), exact=False)
    red = said.replace("<text", '<text fill="#ff0000"')
    assert same_drawing(red, red.replace("#ff0000", "#ff0001"), exact=False)


def test_pictures_agree_within_levels_and_a_painted_corner_does_not_pass():
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 200, (64, 64, 3))
    near, painted = plain + 4, plain.copy()
    painted[:20, :20] = 255
    assert same_picture(picture(plain), picture(near), exact=True) == ""
    for exact in (True, False):
        assert same_picture(picture(plain), picture(painted), exact=exact)
    assert "pixels, not" in same_picture(picture(plain), picture(plain[:32]), exact=False)


def test_an_animated_picture_is_none():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "red")]
    out = io.BytesIO()
    frames[0].save(out, format="png", save_all=True, append_images=frames[1:])
    assert same_picture(out.getvalue(), picture(np.full((8, 8, 3), 255)), exact=True) == "it is no picture"


def test_a_picture_inside_a_drawing_is_compared_by_its_pixels():
    def drawing(values):
        text = base64.b64encode(picture(values)).decode()
        return f'<svg><image href="data:image/png;base64,{text}"/></svg>'

    white, black = np.full((8, 8, 3), 255), np.zeros((8, 8, 3))
    assert same_drawing(drawing(white), drawing(white - 3), exact=True) == ""
    assert "pixels differ" in same_drawing(drawing(white), drawing(black), exact=True)
