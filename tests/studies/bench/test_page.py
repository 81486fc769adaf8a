"""The page of a comparison: no two methods look alike, and no label is cut off."""

from types import SimpleNamespace

from mcprune.report.page import layout
from mcprune.studies.bench.page import DASHES, DISTINCT, Style, alpha_curves
from mcprune.studies.bench.pictures import overlaps


def test_no_two_of_twenty_methods_are_drawn_alike():
    styles = [Style.of(place) for place in range(20)]
    assert len({(one.line["colour"], one.line["line"]["dash"]) for one in styles}) == 20
    assert len({(one.marker["color"], one.marker["symbol"]) for one in styles}) == 20
    assert len(DISTINCT) * len(DASHES) >= 20
    # The control: beyond the palette the colours alone do not tell the methods apart.
    assert len({one.line["colour"] for one in styles}) == len(DISTINCT) == 7


def test_slanted_labels_get_the_room_they_need():
    axis = overlaps({})["layout"]["xaxis"]
    assert axis["automargin"] is True
    assert axis["tickangle"] == -40
    assert "xaxis" not in layout()  # an axis that is not named has no such room


def test_a_method_without_alpha_has_no_curve_of_it():
    runs = {
        name: SimpleNamespace(progress=[SimpleNamespace(epoch=epoch, alpha=alpha) for epoch in (1, 2)])
        for name, alpha in [("markov", 0.0), ("magnitude", None), ("ramp", 0.5)]
    }
    styles = {name: Style.of(place) for place, name in enumerate(runs)}
    assert [curve["name"] for curve in alpha_curves(runs, styles)["data"]] == ["ramp"]
    del runs["ramp"]
    assert alpha_curves(runs, styles) is None
