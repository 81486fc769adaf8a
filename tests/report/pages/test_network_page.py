"""The report of a folder with a network in fixed point: alone, and after a chain over its digits."""

import json

import pytest
from polish_problem import settings_of, splits_of, start_network

from mcprune.cli.firmware.polishing import report_json
from mcprune.cli.firmware.start import Start
from mcprune.cli.main import main
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.network_files import load_network, save_network
from mcprune.firmware.polish.polish import polish


@pytest.fixture
def polished(tmp_path):
    splits, folder = splits_of(), tmp_path / "net"
    result = polish(start_network(), splits, settings_of(40), folder=folder)
    start = Start(start_network(), splits, "made of random integers")
    (folder / "polish.json").write_text(json.dumps(report_json(result, start)))
    return folder


def test_a_polished_network_is_reported(polished, capsys):
    assert main(["report", str(polished)]) == 0
    assert "report.html" in capsys.readouterr().out
    text, network = (polished / "report.html").read_text(), load_network(polished)
    total = costs(network)
    assert f"has {total.digits:,} signed digits" in text
    assert f"It reads {network.widths[0]} of 6 columns" in text
    assert "made of random integers" in text
    assert "Before and after the chain" in text
    assert all(f">{name}<" in text for name in network.origin.names)
    record = json.loads((polished / "polish.json").read_text())
    assert all(f"{record[when]['loss']:.4f}" in text for when in ("before", "after"))


def test_a_network_that_no_chain_has_changed_is_reported_too(tmp_path):
    save_network(start_network(), tmp_path / "net")
    assert main(["report", str(tmp_path / "net"), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "Size in firmware" in text
    assert "Before and after the chain" not in text
    assert not (tmp_path / "net" / "report.html").exists()


def test_broken_records_and_comparisons_are_refused(polished, tmp_path, capsys):
    save_network(start_network(), tmp_path / "other")
    assert main(["report", str(polished), "--compare", str(tmp_path / "other")]) == 2
    assert "--compare" in capsys.readouterr().err
    for text in ("{", "{}", "[]"):
        (polished / "polish.json").write_text(text)
        assert main(["report", str(polished)]) == 2
        assert "Polish again" in capsys.readouterr().err
