"""What a report says of the samples of a run, and of the curve of the path that it is a level of."""

import json
import os
from dataclasses import replace

import pytest
from sampled_run import samples_of

from mcprune.cli.main import main
from mcprune.cli.report import write_report
from mcprune.errors import FolderError
from mcprune.sampling.summary import write_summary
from mcprune.storage.layout import SAMPLES_SUMMARY
from mcprune.storage.path_curve import Curve, Level
from mcprune.storage.result_events import ColumnStatistic, ErrorRate


def write_run(folder, story):
    """Write the events of a finished run of 192 sites, of which 8 are kept."""
    folder.mkdir(parents=True)
    told = story()
    (folder / "events.jsonl").write_text("".join(event.to_json() + "\n" for event in told), encoding="utf-8")
    return told


def test_the_report_says_how_sure_each_site_is(story, tmp_path):
    told = write_run(tmp_path / "run", story)
    write_summary(tmp_path / "run", samples_of(told[-1].indices, told[0].n_sites))
    text = write_report(str(tmp_path / "run")).read_text()
    assert "7 of the 8 kept sites are in at least 90% of the 2,000 good masks that were drawn" in text
    for title in ("Substitutes: sites that can replace", "Good masks: how many", "Samples: traces, ranks, R-hat"):
        assert title in text
    assert "in all" not in text.split("How sure each site is")[1].split("The search")[0]  # of finalists: P says more


def test_a_run_that_was_not_sampled_has_no_such_part(story, tmp_path):
    write_run(tmp_path / "run", story)
    text = write_report(str(tmp_path / "run")).read_text()
    assert "Samples: traces" not in text
    assert "How many are needed" not in text


def test_broken_samples_are_refused(story, tmp_path):
    write_run(tmp_path / "run", story)
    (tmp_path / "run" / SAMPLES_SUMMARY).write_text("{}")
    with pytest.raises(FolderError, match="Sample again"):
        write_report(str(tmp_path / "run"))


def test_a_level_of_a_path_shows_the_curve(story, tmp_path):
    write_run(tmp_path / "levels" / "n008", story)
    level = Level(8, 8, 8, 0.9, 0.01, 0.3, 0.0, 0.0, "down", tuple(range(8)), tuple("abcdefgh"))
    lower = replace(level, level=4, kept=4, cost=4, accuracy=0.8, loss=0.5, behind=0.2, behind_error=0.05)
    curve = Curve("digits", "sites", 192, "sites", (lower, level), "cross-validation", 100, 3.0)
    (tmp_path / "path.json").write_text(json.dumps(curve.to_dict()))
    text = write_report(str(tmp_path / "levels" / "n008")).read_text()
    assert "How many are needed" in text
    assert "8 sites are enough" in text
    assert f"mcprune path {os.path.relpath(tmp_path)} --at N" in text
    assert "mcprune run --config" not in text  # which would search for another mask


def test_the_folder_of_a_path_is_no_run_and_the_error_says_what_is(story, tmp_path, capsys):
    write_run(tmp_path / "levels" / "n008", story)
    (tmp_path / "path.json").write_text("{}")
    for command in (["report", str(tmp_path)], ["show", str(tmp_path)], ["tune", str(tmp_path), "--no-browser"]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "is a path, whose levels are runs of their own" in error
        assert str(tmp_path / "levels" / "n008") in error


def test_a_run_of_a_stated_error_rate_shows_columns_beside_their_shadows(story, tmp_path):
    columns = (
        ColumnStatistic(3, "weight <g>", 0.912, 0.2, 0.02, True),
        ColumnStatistic(0, "colour", 0.301, 0.2, 0.617, False),
    )
    (tmp_path / "run").mkdir()
    events = [*story(), ErrorRate(0.1, 0.024, 0.912, columns, 12, 400, 2.5)]
    (tmp_path / "run" / "events.jsonl").write_text(
        "".join(event.to_json() + "\n" for event in events), encoding="utf-8"
    )
    text = write_report(str(tmp_path / "run")).read_text()
    assert "Columns and their shadows" in text
    assert "1 of 2 columns beat their shadows at an estimated false discovery rate of 0.024" in text
    assert "<td>0.617</td><td>not kept</td>" in text
    assert "weight &lt;g&gt;" in text
    assert "weight <g>" not in text
