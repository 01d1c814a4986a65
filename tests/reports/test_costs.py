"""Costs in comparisons: columns, notes, and the plot of error against cost."""

import csv
import io
import itertools

import pytest

from kdzoo.reports import costs
from kdzoo.reports.comparison import compare
from kdzoo.reports.comparison_table import comparison_csv, comparison_markdown
from kdzoo.reports.groups import group_runs
from kdzoo.reports.plots.catalogue import possible_plots
from kdzoo.reports.plots.cost import plot_cost
from kdzoo.reports.plots.figures import NothingToShow
from synthetic_records import TEACHER, make_record


def with_costs(record, multiply_adds, latency, *, threads=2):
    latency = {"median": latency, "p95": 2 * latency, "calls": 50, "batch": 1, "threads": threads}
    return record | {"multiply_adds": multiply_adds, "peak_activation_bytes": 300_000, "latency_ms": latency}


@pytest.fixture
def runs():
    """Three students: wrn16-2 is beaten by the distilled wrn16-1, which is smaller; wrn16-4 is the best and slowest."""
    small = [with_costs(make_record(seed=seed, error=9.0 + seed), 26_000_000, 1.0 + seed) for seed in (0, 1, 2)]
    records = {f"small{seed}": record for seed, record in enumerate(small)}
    records["distilled"] = with_costs(make_record(teachers=(TEACHER,), error=8.0), 26_000_000, 1.9)
    records["middle"] = with_costs(make_record("wrn16-2", error=8.5), 101_000_000, 2.5)
    records["large"] = with_costs(make_record("wrn16-4", error=6.0), 400_000_000, 9.0)
    return records


def test_costs_are_columns_where_records_have_them(runs):
    groups = group_runs(runs.values())
    table = [[cell.strip() for cell in line.split("|")] for line in comparison_markdown(groups).splitlines()]
    first = table[0].index("multiply-adds (M)")
    assert table[0][first : first + 3] == ["multiply-adds (M)", "peak activations (MB)", "latency (ms)"]
    # From scratch: the median over three runs of their medians 1, 2 and 3.
    assert table[2][first : first + 3] == ["26.00", "0.30", "2.00"]
    rows = list(csv.DictReader(io.StringIO(comparison_csv(groups))))
    assert [row["multiply_adds"] for row in rows] == ["26000000", "26000000", "101000000", "400000000"]
    assert [row["latency_ms"] for row in rows] == ["2.0", "1.9", "2.5", "9.0"]
    old = group_runs([make_record()])
    assert "multiply" not in comparison_csv(old) + comparison_markdown(old)


def test_the_plot_marks_the_front_of_each_cost(runs):
    groups = group_runs(runs.values())
    figure = plot_cost(groups)
    assert [axes.get_xlabel() for axes in figure.axes] == ["multiply-adds", "weights in float32", "latency, batch 1"]
    fronts = [next(line for line in axes.lines if line.get_label() == "Pareto front") for axes in figure.axes]
    assert [line.get_ydata().tolist() for line in fronts] == [[8.0, 6.0]] * 3
    assert [line.get_xdata().tolist() for line in fronts] == [[26e6, 400e6], [4 * 175_066, 4 * 2_748_890], [1.95, 9.0]]
    points = {
        container.get_label(): sorted(container.lines[0].get_xydata().tolist())
        for container in figure.axes[2].containers
    }
    # The small students take 1, 2, 3 and 1.9 ms: one network, one latency.
    assert points == {"wrn16-1": [[1.95, 8.0], [1.95, 10.0]], "wrn16-2": [[2.5, 8.5]], "wrn16-4": [[9.0, 6.0]]}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][-2:] == [
        "wrn16-1 (60/200) KD by wrn16-2 (60/200)",
        "wrn16-4 (60/200) from scratch",
    ]
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.bbox.width > 100
        labels = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        assert all(one.x1 < other.x0 for one, other in itertools.pairwise(labels))


def test_one_network_has_no_plot_of_costs(runs):
    few = [record for record in runs.values() if record["config"]["model"] == "wrn16-1"]
    with pytest.raises(NothingToShow, match="students of one network"):
        plot_cost(group_runs(few))


def test_runs_without_costs_are_left_out_and_named(runs, tmp_path):
    few = {label: runs[label] for label in ("middle", "large")} | {"old": make_record("wrn16-6", error=5.0)}
    made = compare(few, tmp_path)
    assert "not in the plot of costs, since their records lack them: old" in made.notes
    assert {"cost.png", "cost.svg"} <= {path.name for path in made.paths}
    assert costs.EXPLAINED in (tmp_path / "compare.md").read_text()
    assert not any("latencies" in note for note in made.notes)


def test_runs_of_earlier_versions_are_compared_as_before(tmp_path):
    made = compare({"old": make_record(), "other": make_record("wrn16-2")}, tmp_path)
    assert made.notes == ["no teacher_size: no run has a teacher"]
    assert not any("cost" in text for text in (made.table, (tmp_path / "compare.md").read_text()))


def test_latencies_of_several_machines_are_named(runs):
    runs["large"] = with_costs(runs["large"], 400_000_000, 3.0, threads=16)
    (note,) = costs.notes(runs, group_runs(runs.values()))
    assert note.startswith("latencies are of 2 machines, so do not compare them: ")
    assert note.endswith(" 16 threads")


def test_each_data_set_has_its_plot(runs):
    for label in ("middle", "large"):
        other = runs[label]["dataset"] | {"name": "cifar100", "fingerprint": "0" * 64}
        runs |= {f"{label}_100": runs[label] | {"dataset": other}}
    names = {name for name, _ in possible_plots(group_runs(runs.values()), [])}
    assert {"cost_cifar10", "cost_cifar100"} <= names
