"""Sites are data: what an axis selects, and what a permutation is."""

import numpy as np
import pytest

from icd.contracts import Site, TensorAxis, check_permutation, inverse


def test_an_axis_selects_whole_channels_behind_its_offset_and_keeps_the_rest():
    axis = TensorAxis("w", 0, offset=2, repeat=2)
    assert axis.expand(np.array([2, 0]), size=3, length=10).tolist() == [0, 1, 6, 7, 2, 3, 8, 9]


def test_an_axis_longer_than_its_parameter_is_refused_with_both_lengths():
    with pytest.raises(ValueError, match=r"has 5 entries.*needs 6"):
        TensorAxis("w", 0, repeat=2).expand(np.arange(3), size=3, length=5)


def test_the_inverse_undoes_a_layout():
    pi = np.random.default_rng(0).permutation(50)
    assert np.array_equal(inverse(pi)[pi], np.arange(50))


@pytest.mark.parametrize("bad", [[0, 0, 1], [0, 1], [1, 2, 3]])
def test_what_is_no_permutation_is_refused(bad):
    with pytest.raises(ValueError, match="expected a permutation of 3"):
        check_permutation(np.array(bad), 3, "here")


def test_repeat_of_a_site_is_its_widest_axis():
    assert Site("s", 2, (TensorAxis("a", 0, repeat=4), TensorAxis("b", 0)), "heads", "a").repeat == 4
