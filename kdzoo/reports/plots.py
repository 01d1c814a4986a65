"""Plots from run records, in the paper's forms.

Lines are told apart by marker and line style, so also in print and by everybody.
"""

import collections
import functools
import itertools
import math
import os
import pathlib
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdzoo.distillation import schedules
from kdzoo.reports import statistics
from zoo import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
PNG_DPI = 120


class NothingToShow(Exception):
    """A plot would be empty, or of one point; says why in a word."""


def describe_teachers(record: Record) -> str:
    """Names of the models that taught the run, or a dash."""
    return ", ".join(teacher["name"] for teacher in record["teachers"]) or "-"


def setting(value: Any) -> str:
    """A setting in a table or a legend."""
    return f"{value:g}" if isinstance(value, float) else str(value or "-") if value != 0 else "0"


def plot_students(records: Sequence[Record], path: str | os.PathLike) -> None:
    """Saves a plot of each student's test error beside its teacher's, one column a student, worst first.

    Args:
        records: of students; those without a teacher were trained from scratch.
        path: a .png or .svg file.
    """
    from matplotlib.figure import Figure

    records = sorted(records, key=lambda record: -record["test_error_last"])
    figure = Figure(figsize=(1.5 + 2 * len(records), 4), layout="constrained")
    axes = figure.add_subplot()
    for whose, marker, colour, side in (("student", "o", "black", 1), ("its teacher", "^", "0.6", -1)):
        points = [
            (i, net["test_error_last"])
            for i, record in enumerate(records)
            for net in ([record] if whose == "student" else record["teachers"])
        ]
        axes.plot(
            [x for x, _ in points], [error for _, error in points], marker, color=colour, markersize=9, label=whose
        )
        for point in points:
            aside = {"xytext": (10 * side, 0), "textcoords": "offset points", "ha": "left" if side > 0 else "right"}
            axes.annotate(f"{point[1]:.2f}", point, va="center", **aside)
    axes.legend(frameon=False)
    labels = [
        f"taught by\n{describe_teachers(record)}" if record["teachers"] else "from\nscratch" for record in records
    ]
    axes.set_xticks(range(len(records)), labels)
    axes.set_xlim(-0.5, len(records) - 0.5)
    axes.set_ylabel(f"test error on {records[0]['dataset']['name']} (%)")
    axes.set_title(f"student {records[0]['config']['model']}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (4, 3, 1, 3)), (0, (1, 3)))


def save(figure: "Figure", path: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
    """Saves PATH.png and PATH.svg, which are the same to the byte each time."""
    import matplotlib

    png, svg = (pathlib.Path(f"{os.fspath(path)}.{kind}") for kind in ("png", "svg"))
    with matplotlib.rc_context({"svg.hashsalt": "kdzoo"}):
        figure.savefig(png, dpi=PNG_DPI)
        figure.savefig(svg, metadata={"Date": None})
    return png, svg


def every_plot(groups: Sequence[statistics.Group], chosen: Sequence[Record]) -> Iterator[tuple[str, Callable]]:
    """File name -> what draws it, of every plot there may be."""
    contexts = statistics.contexts(groups)
    varying = statistics.varying([group for context in contexts for group in context.taught])
    varying = [key for key in varying if key != "kd_until"]  # the method's name says it
    used: collections.Counter[str] = collections.Counter()

    def unique(*parts: str) -> str:
        name = "_".join(re.sub(r"[^\w.+-]+", "-", part).strip("-") for part in parts)
        used[name] += 1
        return name if used[name] == 1 else f"{name}_{used[name]}"

    if not contexts:
        yield "teacher_size", functools.partial(_nothing, "no run has a teacher")
    for context in contexts:
        first = context.taught[0]
        extra = {key: first.settings[key] for key in varying}
        described = [f"{key}{value}" for key, value in extra.items()]
        if len({group.dataset for group in groups}) > 1:
            described.insert(0, first.dataset)
        if context.scales[1] != context.scales[0]:
            described.append(f"teachers-x{float(context.scales[1])}")
        for kind, draw in (
            ("teacher_size", plot_teacher_size),
            ("teacher_length", plot_teacher_length),
            ("heat_map", plot_heat_map),
        ):
            name = unique(kind, first.model, str(first.schedule), _method(first).lower(), *described)
            yield name, functools.partial(draw, context, extra)
    if chosen:
        yield "curves", functools.partial(plot_curves, statistics.group(chosen, merge_teachers=True))
        return
    for family in statistics.families(groups):
        if any(group.teachers for group in family):
            name = unique("curves", family[0].model, str(family[0].schedule))
            yield name, functools.partial(plot_curves, choose_curves(family))


def _nothing(why: str):
    raise NothingToShow(why)


def plot_teacher_size(context: statistics.Context, extra: Mapping[str, Any] | None = None) -> "Figure":
    """Student's error against the teacher's parameters, a line for each length the teachers were trained for.

    Args:
        context: groups to show, and the student from scratch.
        extra: settings to name in the title.

    Raises:
        NothingToShow: for teachers of one size.
    """
    sizes = _sizes(context)
    if len(sizes) < 2:
        raise NothingToShow(_few("size", sizes))
    families = sorted({group.teacher.family for group in context.plain})
    lengths = sorted(_lengths(context), key=lambda length: length.epochs != context.full_epochs)  # fully trained first
    lines = {(length, family): [] for family in families for length in lengths}
    for group in context.plain:
        if group.teacher.architecture in sizes:
            lines[group.teacher.schedule, group.teacher.family].append(group)
    lines = {line: of_line for line, of_line in lines.items() if of_line}
    figure, axes = _axes(context, extra, lines=len(lines))
    shifts = _shifts(len(lines), list(sizes.values()))
    for shift, ((length, family), of_line) in zip(shifts, lines.items(), strict=True):
        full = context.is_full(of_line[0])
        style = _style(lengths.index(length), len(lengths)) | ({"color": "black", "linewidth": 2.2} if full else {})
        if families.index(family):
            style["markerfacecolor"] = ("white", "0.7")[families.index(family) % 2 - 1]
        label = f"{paper_form(length)}{', fully trained' if full else ''}"
        _error_bars(
            axes,
            [(group.of_teacher("parameters") * shift, group.error) for group in of_line],
            style=style,
            label=label if len(families) == 1 else f"{family} {label}",
        )
    _scratch_band(axes, context)
    _log_axis(axes.xaxis, (1, 2, 5), lambda value, _: f"{value / 1e6:g} M")
    _set_limits(axes, list(sizes.values()))
    axes.set_xlabel("teacher's parameters")
    top = axes.secondary_xaxis("top")
    _ticks(top, sizes, rotation=60)
    return _finish(figure, axes, "teacher trained on k/N")


def plot_teacher_length(context: statistics.Context, extra: Mapping[str, Any] | None = None) -> "Figure":
    """Student's error against the teacher's training length N, a line for each architecture of teachers.

    Args, Raises: see `plot_teacher_size`; nothing to show for teachers of one length.
    """
    lengths = _lengths(context)
    if len(lengths) < 2:
        raise NothingToShow(_few("training length", lengths))
    sizes = _sizes(context)
    # Lengths of another kind, as cosine beside steps, are lines of their own.
    lines: dict[tuple[str, str], list[statistics.Group]] = {}
    for name in sizes:
        for group in context.plain:
            if group.teacher.architecture == name:
                lines.setdefault((name, _kind(group.teacher.schedule)), []).append(group)
    figure, axes = _axes(context, extra, lines=len(lines))
    epochs = [_epochs(length) for length in lengths]
    shifts = _shifts(len(lines), epochs)
    for i, (shift, ((name, kind), of_line)) in enumerate(zip(shifts, lines.items(), strict=True)):
        _error_bars(
            axes,
            [(_epochs(group.teacher.schedule) * shift, group.error) for group in of_line],
            style=_style(i, len(lines)),
            label=f"{name} ({sizes[name] / 1e6:.2f} M){kind and f', {kind}'}",
        )
    _scratch_band(axes, context)
    _log_axis(axes.xaxis, (1,), lambda value, _: "")
    _set_limits(axes, epochs)
    _ticks(axes, {paper_form(length): _epochs(length) for length in lengths})
    axes.set_xlabel("teacher's schedule: LR step every k of N epochs, k/N")
    return _finish(figure, axes, "teacher (parameters)")


def plot_heat_map(context: statistics.Context, extra: Mapping[str, Any] | None = None) -> "Figure":
    """Teacher's size x training length: the student's error and, beside it, what the teacher is like.

    Args, Raises: see `plot_teacher_size`; nothing to show for teachers of one size or length.
    """
    sizes, lengths = _sizes(context), _lengths(context)
    if len(sizes) < 2 or len(lengths) < 2:
        few = ("size", sizes) if len(sizes) < 2 else ("training length", lengths)
        raise NothingToShow(_few(*few))
    at = {(group.teacher.architecture, group.teacher.schedule): group for group in context.plain}

    def mean(group: statistics.Group, key: str) -> float | None:
        found = group.spread(key)
        return found and found.mean

    panels = {
        "student's error (%)": (lambda group: group.error.mean, ".2f"),
        "teacher's own error (%)": (lambda group: group.of_teacher("test_error_last"), ".2f"),
        "agreement (%)": (lambda group: mean(group, "test_agreement_last"), ".1f"),
        "teacher's ECE": (lambda group: group.of_teacher("test_ece_last"), ".3f"),
    }
    grids = {
        title: [[value(at[name, length]) if (name, length) in at else None for length in lengths] for name in sizes]
        for title, (value, _) in panels.items()
    }
    grids = {title: grid for title, grid in grids.items() if any(cell is not None for row in grid for cell in row)}
    across = len(grids) if len(lengths) <= 3 else min(2, len(grids))
    down = -(-len(grids) // across)
    figure, axes = _axes(
        context,
        extra,
        figsize=(1.6 + across * (0.7 + 0.72 * len(lengths)), 1.2 + down * (0.9 + 0.48 * len(sizes))),
        panels=(down, across),
    )
    for panel in axes.flat[len(grids) :]:
        panel.set_visible(False)
    for i, (panel, (title, grid)) in enumerate(zip(axes.flat, grids.items(), strict=False)):
        spreads = [[at[n, e].error if not i and (n, e) in at else None for e in lengths] for n in sizes]
        _heat(panel, grid, panels[title][1], spreads)
        panel.set_title(title, fontsize="medium")
        panel.set_xticks(range(len(lengths)), [paper_form(length) for length in lengths])
        labels = [f"{name}  {size / 1e6:.2f} M" for name, size in sizes.items()]
        panel.set_yticks(range(len(sizes)), labels if i % across == 0 else [""] * len(labels))
        if i >= len(grids) - across:
            panel.set_xlabel("teacher's schedule k/N")
    return figure


def _heat(axes: "Axes", grid: list[list[float | None]], digits: str, spreads: list[list]) -> None:
    """Cells in grey with their numbers; the lowest of those with a spread is framed."""
    import numpy as np

    values = np.array(grid, np.float64)  # nan where nothing ran
    low, span = np.nanmin(values), np.nanmax(values) - np.nanmin(values) or 1
    # The lightest is not white, which is where nothing ran; the darkest not black, so that a frame shows on it.
    image = axes.imshow(values, cmap="Greys", vmin=low - 0.12 * span, vmax=low + 1.25 * span, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        spread = spreads[row][column]
        text = f"{value:{digits}}" + (f"\n±{spread.std:{digits}}" if spread and spread.std is not None else "")
        dark = image.cmap(image.norm(value))[0] < 0.46  # here black and white have the same contrast
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
        if spread and value == low:
            axes.add_patch(_rectangle((column - 0.5, row - 0.5), 1, 1))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _rectangle(*args):
    from matplotlib.patches import Rectangle

    return Rectangle(*args, fill=False, edgecolor="black", linewidth=2, clip_on=False)


def plot_curves(groups: Sequence[statistics.Group]) -> "Figure":
    """Learning curves of groups, each the mean over its seeds: test error, training cross-entropy and KD term.

    A vertical line marks where the KD term ends (ESKD).

    Raises:
        NothingToShow: without any epoch.
        InputError: for students whose schedules are not all scaled alike.
    """
    from matplotlib.figure import Figure

    shares = sorted({float(statistics.scale(group.schedule)) for group in groups})
    if len(shares) > 1:
        raise InputError(f"curves must be of schedules scaled alike. Received: scaled by {', '.join(map(str, shares))}")
    panels = {"test_error": "test error (%)", "ce": "training cross-entropy (nats)", "kd": "training KD term (nats)"}
    panels = {key: label for key, label in panels.items() if any(_curve(group, key) for group in groups)}
    if not panels:
        raise NothingToShow("no run has a history")
    labels = [_curve_label(group, groups) for group in groups]
    columns = 1 if max(map(len, labels)) > 45 or len(panels) == 1 else 2
    height = 4 + 0.21 * -(-len(labels) // columns)  # the legend's, below
    figure = Figure(figsize=(1 + 3.8 * len(panels), height), layout="constrained")
    every = figure.subplots(1, len(panels), squeeze=False)[0]
    stopped = [end for group in groups if (end := kd_end(group)) and end < len(group.runs[0]["history"])]
    for axes, (key, title) in zip(every, panels.items(), strict=True):
        for i, group in enumerate(groups):
            curve = _curve(group, key)
            if curve:
                _draw_curve(axes, curve, style=_style(i, len(groups), marks=len(curve)), label=labels[i])
        for end in sorted(set(stopped)):
            axes.axvline(end, color="0.35", linestyle=(0, (1, 1.5)), linewidth=1.2)
        _log_axis(axes.yaxis, (1, 1.5, 2, 3, 5, 7), lambda value, _: f"{value:g}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
        axes.spines[["top", "right"]].set_visible(False)
    told, note = _student(groups[0]).rstrip(","), f"{groups[0].dataset}, {_seeds(groups)}"
    if stopped:
        note += f"; dotted: KD ends after epoch {', '.join(map(str, sorted(set(stopped))))}"
    if len({(group.model, group.schedule) for group in groups}) > 1:
        told = "learning curves" + (f", schedules scaled by {shares[0]}" if shares[0] != 1 else "")
    figure.suptitle(_wrap(f"{told}\n{note}", figure), fontsize="medium")
    handles = every[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, frameon=False, handlelength=4)
    return figure


def choose_curves(family: Sequence[statistics.Group]) -> list[statistics.Group]:
    """Of one student the curves to compare, at most five: from scratch, as taught by the biggest fully trained teacher,
    with and without an early end of the KD term, and as taught by the same architecture stopped early, the best one."""
    scratch = [group for group in family if not group.teachers]
    plain = [group for group in family if group.teacher]
    if not plain:
        return [*scratch, *(group for group in family if group.teachers)][:5]
    # A teacher with whom distillation was stopped early too shows more than a bigger one.
    stopped = {(group.teacher.architecture, group.teacher.schedule) for group in plain if _stops(group)}

    def worth(group: statistics.Group) -> tuple:
        key = (group.teacher.architecture, group.teacher.schedule)
        return key in stopped, group.teacher.schedule.epochs, group.of_teacher("parameters") or 0

    full = max(plain, key=worth).teacher
    same = [group for group in plain if group.teacher == full]
    shorter = [
        group
        for group in plain
        if group.teacher.architecture == full.architecture
        and group.teacher.schedule.epochs < full.schedule.epochs
        and statistics.scale(group.teacher.schedule) == statistics.scale(full.schedule)
    ]
    best = sorted(shorter, key=lambda group: group.error.mean)[:1]
    return [*scratch[:1], *same[: 4 - len(best)], *best]


def _stops(group: statistics.Group) -> bool:
    return (group.settings["kd_until"] or 1) < 1


def kd_end(group: statistics.Group) -> int | None:
    """The last epoch in which a teacher had a part; None for a student from scratch."""
    epochs = [row["epoch"] for row in group.runs[0]["history"] if "kd" in row or "at" in row]
    return max(epochs, default=None)


def _curve(group: statistics.Group, key: str) -> list[tuple[int, statistics.Spread]]:
    """Epoch -> spread over the seeds, where there are numbers."""
    epochs: dict[int, list] = {}
    for run in group.runs:
        for row in run["history"]:
            epochs.setdefault(row["epoch"], []).append(row.get(key))
    return [(epoch, found) for epoch, values in epochs.items() if (found := statistics.spread(values))]


def _draw_curve(axes: "Axes", curve: Sequence[tuple[int, statistics.Spread]], *, style: dict, label: str) -> None:
    epochs, means = [epoch for epoch, _ in curve], [found.mean for _, found in curve]
    axes.plot(epochs, means, label=label, **style)
    if all(found.std is not None for _, found in curve):
        low, high = ([found.mean + side * found.std for _, found in curve] for side in (-1, 1))
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _curve_label(group: statistics.Group, groups: Sequence[statistics.Group]) -> str:
    """How it was taught, and what else tells it from the others."""
    several = len({(each.model, each.schedule) for each in groups}) > 1
    student = f"{group.model} ({paper_form(group.schedule)}) " if several else ""
    teachers = ", ".join(_pretty(teacher) for teacher in group.teachers)
    taught = f"{_method(group)} by {teachers}" if teachers else "from scratch"
    others = {key: group.settings.get(key) for key in statistics.varying(groups) if key != "kd_until"}
    told = [f"{key} {setting(value)}" for key, value in others.items() if value is not None]
    return ", ".join([f"{student}{taught}", *told])


def _pretty(teacher: Record) -> str:
    name = statistics.teacher_name(teacher)
    if not name:
        return teacher["name"]
    share = statistics.scale(name.schedule)
    return f"{name.architecture} ({paper_form(name.schedule)}{f' x{float(share)}' if share != 1 else ''})"


def _method(group: statistics.Group) -> str:
    """For example KD, or ESKD 50%: the share of the epochs in which the teacher has a part."""
    method = group.method.upper()
    return f"ES{method} {100 * group.settings['kd_until']:g}%" if _stops(group) else method


# What plots share.


def paper_form(schedule: schedules.Schedule) -> str:
    """As the paper prints it, without the share it is shrunk to: 60/200, cos 65, 50."""
    text = str(statistics.unscaled(schedule))
    return text.replace("cos-", "cos ").replace("-", "/")


def _epochs(schedule: schedules.Schedule) -> int:
    return statistics.unscaled(schedule).epochs


def _few(what: str, found: Mapping | Sequence) -> str:
    return f"teachers of {'one' if found else 'no known'} {what}"


def _sizes(context: statistics.Context) -> dict[str, int]:
    """Architecture -> parameters, smallest first."""
    sizes = {group.teacher.architecture: group.of_teacher("parameters") for group in context.plain}
    known = [name for name in sizes if sizes[name]]
    return {name: sizes[name] for name in sorted(known, key=lambda name: (sizes[name], statistics.natural(name)))}


def _lengths(context: statistics.Context) -> list[schedules.Schedule]:
    """The teachers' schedules, shortest first."""
    found = {group.teacher.schedule for group in context.plain}
    return sorted(found, key=lambda schedule: (schedule.epochs, statistics.natural(str(schedule))))


def _kind(schedule: schedules.Schedule) -> str:
    return "cosine" if isinstance(statistics.unscaled(schedule), schedules.CosineSchedule) else ""


def _shifts(count: int, values: Sequence[float]) -> list[float]:
    """Factors for so many lines on a logarithmic axis, so that their error bars stand beside each other."""
    step = (max(values) / min(values)) ** 0.011
    return [step ** (i - (count - 1) / 2) for i in range(count)]


def _style(i: int, count: int, *, marks: int = 0) -> dict[str, Any]:
    """Colour, marker and line style of line i of so many; of a long line only some points are marked."""
    import matplotlib

    # The brightest end of the map would not show on white.
    colour = matplotlib.colormaps["viridis"](0.8 * i / max(1, count - 1))
    style = {"color": colour, "marker": _MARKERS[i % len(_MARKERS)], "linestyle": _LINES[i % len(_LINES)]}
    every = max(1, marks // 8)
    return style | ({"markevery": (i * every // max(1, count), every), "markersize": 5} if marks else {})


def _axes(
    context: statistics.Context,
    extra: Mapping[str, Any] | None,
    *,
    figsize: tuple[float, float] = (7.5, 4.8),
    lines: int = 0,
    panels: tuple[int, int] | None = None,
) -> tuple["Figure", Any]:
    """A titled figure with one pair of axes, or an array of them [rows, columns]."""
    from matplotlib.figure import Figure

    figsize = (figsize[0], max(figsize[1], 1.6 + 0.22 * lines))  # the legend's height
    figure = Figure(figsize=figsize, layout="constrained")
    first = context.taught[0]
    taught = f"taught by {_method(first)}"
    told = [f"T = {first.settings['temperature']:g}"] if first.settings["temperature"] else []
    told += [f"{key} {setting(value)}" for key, value in (extra or {}).items() if key != "temperature"]
    student, teachers = context.scales
    note = f"{first.dataset}, {_seeds([*context.plain, *([context.scratch] if context.scratch else [])])}"
    if teachers != student:
        note += f"; teachers' schedules {f'scaled by {float(teachers)}' if teachers != 1 else 'not scaled'}"
    text = f"{_student(first, 'schedules' if student == teachers else '')} {taught}"
    figure.suptitle(
        _wrap(f"{text} ({', '.join(told)})\n{note}" if told else f"{text}\n{note}", figure), fontsize="medium"
    )
    return figure, figure.subplots(*panels, squeeze=False) if panels else figure.add_subplot()


def _student(group: statistics.Group, scaled: str = "") -> str:
    share = statistics.scale(group.schedule)
    note = "" if share == 1 else f", {scaled or 'its schedule'} scaled by {float(share)},"
    return f"student {group.model} on {paper_form(group.schedule)}{note}"


def _seeds(groups: Sequence[statistics.Group]) -> str:
    counts = sorted({group.n for group in groups})
    if counts == [1]:
        return "one seed"
    seeds = f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    return f"mean ± sample standard deviation over {seeds}"


def _wrap(text: str, figure: "Figure") -> str:
    width = int(12 * figure.get_figwidth())  # characters of this size that fit
    return "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, width))


def _error_bars(axes: "Axes", points: Sequence[tuple[float, statistics.Spread]], *, style: dict, label: str) -> None:
    """A line through the means; no bar where there is but one seed."""
    points = sorted(points, key=lambda point: point[0])
    bars = [float("nan") if found.std is None else found.std for _, found in points]
    axes.errorbar([x for x, _ in points], [found.mean for _, found in points], bars, label=label, capsize=3, **style)


def _scratch_band(axes: "Axes", context: statistics.Context) -> None:
    if context.scratch:
        error = context.scratch.error
        axes.axhline(error.mean, color="0.45", linewidth=1, label="from scratch", zorder=0)
        if error.std is not None:
            axes.axhspan(error.mean - error.std, error.mean + error.std, color="0.88", zorder=-1)


def _log_axis(axis: "Axis", steps: Sequence[float], form: Callable) -> None:
    """A logarithmic axis with ticks at these multiples of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(form))
    axis.set_minor_locator(NullLocator())


def _set_limits(axes: "Axes", values: Sequence[float]) -> None:
    margin = max((max(values) / min(values)) ** 0.08, 1.1)
    axes.set_xlim(min(values) / margin, max(values) * margin)


def _ticks(axes: "Axes", labels: Mapping[str, float], *, rotation: float = 0) -> None:
    """Ticks of a logarithmic x axis, turned where they are close; labels that would lie on each other share a tick."""
    low, high = (math.log(value) for value in axes.figure.axes[0].get_xlim())
    at = {name: (math.log(value) - low) / (high - low) for name, value in labels.items()}  # from 0 to 1
    ordered = sorted(at, key=at.get)
    if any(0 < at[b] - at[a] < 0.13 for a, b in itertools.pairwise(ordered)):
        rotation = rotation or 30
    merged: list[list[str]] = []
    for name in ordered:
        if merged and at[name] - at[merged[-1][0]] < 0.035:
            merged[-1].append(name)
        else:
            merged.append([name])
    texts = [(", " if rotation else "\n").join(names) for names in merged]
    side = "left" if axes is not axes.figure.axes[0] else "right"  # of turned labels above, below
    turned = {"rotation": rotation, "ha": side, "rotation_mode": "anchor"} if rotation else {}
    axes.set_xticks([labels[names[0]] for names in merged], texts, **turned)
    axes.minorticks_off()


def _finish(figure: "Figure", axes: "Axes", legend: str) -> "Figure":
    axes.set_ylabel("student's test error (%)")
    axes.spines[["right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", title=legend, frameon=False, handlelength=4)
    return figure
