"""Sites that a person names: an integer is an index, a text is a name."""

import numpy as np
import pytest

from mcprune.config.schema import make_config
from mcprune.errors import ConfigError
from mcprune.sites.named_sites import fixed_sites, settle_groups

NAMES = ("5", "2", "7", "a")


def test_an_integer_is_an_index_and_a_text_a_name():
    assert fixed_sites([2], None, NAMES).kept.tolist() == [2]
    assert fixed_sites(["2"], None, NAMES).kept.tolist() == [1]
    assert fixed_sites([0], ["2", "a"], NAMES).dropped.tolist() == [1, 3]
    assert fixed_sites(["0"], None, NAMES).kept.tolist() == [0]  # of the command line, where all is text


@pytest.mark.parametrize(("site", "shown"), [(4, "4"), (-1, "-1"), ("4", "'4'"), ("b", "'b'")])
def test_what_is_no_site_is_refused(site, shown):
    with pytest.raises(ConfigError, match=rf"must_keep names {shown}, which is no site.*Give names or indices 0\.\.3"):
        fixed_sites([site], None, NAMES)


def test_groups_take_indices_and_names_alike():
    groups = make_config(groups={"both": {"sites": [2, "2"]}, "rest": [0]}).problem.groups
    tied = settle_groups(groups, NAMES, 4, must_keep=[0])
    assert {item.name: item.sites for item in (*tied.items, *tied.always)} == {"both": (1, 2), "rest": (0,), "": (3,)}
    assert [item.name for item in tied.always] == ["rest"]
    with pytest.raises(ConfigError, match=r"group 'x' names 9, which is no site. Give names, indices 0\.\.3"):
        settle_groups({"x": {"sites": [9]}}, NAMES, 4)


@pytest.mark.parametrize("value", [[2, "age"], (np.int64(2), "age"), np.array([2, "age"], object)])
def test_options_keep_the_kind_of_each(value):
    assert make_config(must_keep=value).problem.must_keep == (2, "age")
    assert make_config(must_keep=2).problem.must_keep == (2,)
    assert make_config(must_keep="2,age").problem.must_keep == ("2", "age")
    # An index names no column of a file, so it keeps none from being taken for row numbers.
    assert set(make_config(must_keep=value).data_settings().reading.required) == {"age", ""}


@pytest.mark.parametrize("value", [[True, False], np.array([True, False]), 2.5, {"a": 1}])
def test_what_names_no_sites_is_refused(value):
    with pytest.raises(ConfigError, match=r"must_keep: names or indices of sites are needed.*got .*\. [A-Z]"):
        make_config(must_keep=value)
