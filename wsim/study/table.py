"""table.csv, one line a run, and table.md, one line an arm and point. Both depend on the results alone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from wsim.report import si
from wsim.scenario.arms import toml
from wsim.study import names
from wsim.study.comparison import (
    ACCURACY,
    ACCURACY_END,
    END,
    MEASURES,
    Comparison,
    Row,
    rounds_to_target,
    to_target,
)
from wsim.study.statistics import Difference, Estimate

OUTDATED = "at equal time the latest evaluation is old (compare at the end, or evaluate more often)"


def csv_text(comparison: Comparison) -> str:
    """Every run with its totals and what it took to the targets; empty where a number does not exist."""
    targets = [measure for target in comparison.targets for measure in (rounds_to_target(target), *to_target(target))]
    totals = list(comparison.rows[0].runs[0].totals) if comparison.rows else []
    shared = [measure for measure in comparison.measures if measure.key not in totals]
    head = ["study", "arm", *comparison.axes, "seed", "result", "learner", "stop_reason", "measured"]
    head += ["equal_time_s", *(measure.key for measure in shared), *totals, *(measure.key for measure in targets)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    for row in comparison.rows:
        point = [toml(row.point[key]) if key in row.point else "" for key in comparison.axes]
        for run in row.runs:
            cells = [
                comparison.name,
                row.arm,
                *point,
                run.seed,
                run.file.name,
                run.learner,
                run.stop_reason,
                run.measured,
            ]
            numbers = [row.equal_time_s, *(measure.of(run, row.equal_time_s) for measure in shared)]
            numbers += [*run.totals.values(), *(measure.of(run, row.equal_time_s) for measure in targets)]
            writer.writerow([*cells, *map(_csv_number, numbers)])
    return buffer.getvalue()


def markdown_text(comparison: Comparison) -> str:
    """Means and 95 % intervals over the seeds, and the differences from the baseline."""
    axes, targets = names.short_keys(comparison.axes), comparison.targets
    head = [
        "arm",
        *axes.values(),
        "seeds",
        "equal time",
        *(measure.label for measure in comparison.measures),
        "accuracy of",
    ]
    head += [f"to {target:g}" for target in targets]
    lines = [f"# {comparison.name}", "", _legend(comparison), "", *_markdown([head, *_rows(comparison)])]
    if comparison.diverged:
        lines += ["", f"Models diverged, their numbers are of no trained model: {comparison.diverged}."]
    if comparison.outdated:
        lines += ["", f"{OUTDATED[0].upper()}{OUTDATED[1:]}: {comparison.outdated}."]
    differences = [
        [*point_cells(comparison, row), *cells] for row in comparison.rows for cells in difference_rows(comparison, row)
    ]
    if differences:
        lines += ["", f"## Difference from {comparison.baseline}, seed by seed", ""]
        lines += _markdown([[*axes.values(), *DIFFERENCE_HEAD], *differences])
    return "\n".join(lines) + "\n"


def _legend(comparison: Comparison) -> str:
    return (
        "Mean over the seeds ± half width of the 95 % t interval. Equal time: the earliest end of all runs at the point. "
        "Bits and joules are those of the whole run, or to the accuracy in the column's name, over the runs that reached "
        "it (k of n). Where k of n seeds have a number, it is their mean without an interval: they are a selection."
    )


def _rows(comparison: Comparison) -> Iterable[list[str]]:
    for row in comparison.rows:
        cells = [row.arm, *point_cells(comparison, row), f"{len(row.runs)} of {comparison.num_seeds}"]
        cells += [
            equal_time(row),
            *(with_count(row.estimate(measure), measure.unit) for measure in comparison.measures),
        ]
        cells.append(row.measured)
        yield cells + [to_target_text(row, target) for target in comparison.targets]


def equal_time(row: Row) -> str:
    """ "60.0 s"."""
    return amount(Estimate(row.equal_time_s, math.nan, 1), "s")


def point_cells(comparison: Comparison, row: Row) -> list[str]:
    """The values of the axes."""
    return [names.value_text(row.point[key]) if key in row.point else "" for key in comparison.axes]


def to_target_text(row: Row, target: float) -> str:
    """ "31.2 ± 2.0 s, 58 ± 3 Mbit, 64.6 ± 2.1 J (5 of 5)"."""
    estimates = [(row.estimate(measure), measure.unit) for measure in to_target(target)]
    reached = estimates[0][0].num
    of = f"{reached} of {len(row.runs)}"
    if reached == 0:
        return f"not reached ({of})"
    return f"{', '.join(amount(found, unit) for found, unit in estimates)} ({of})"


MAX_RATIO = 1e6
"""Above, all seeds differ by the same, but for the last nanosecond."""

DIFFERENCE_HEAD = ("arm", "of", "difference", "paired s.e.", "unpaired s.e.", "ratio", "seeds")


def difference_rows(comparison: Comparison, row: Row) -> Iterable[list[str]]:
    """One line a measure: the accuracies at equal time, at the end where the runs do not all end at once, and the times to the
    targets. No line where the two arms have no seed in common, or none that reached the target in both."""
    measures = [ACCURACY, *(measure for measure in comparison.measures if measure not in MEASURES)]
    measures += [] if comparison.ends_at_once else [ACCURACY_END, END]
    for measure in [*measures, *(to_target(target)[0] for target in comparison.targets)]:
        found = comparison.difference(row, measure)
        if found is not None:
            yield [row.arm, measure.label, *difference_cells(found, measure.unit)]


def difference_cells(found: Difference, unit: str) -> list[str]:
    """The columns of DIFFERENCE_HEAD from the third on."""
    errors = [
        amount(Estimate(error, math.nan, found.num), unit) if math.isfinite(error) else "–"
        for error in (found.paired_se, found.unpaired_se)
    ]
    ratio = f"{found.ratio:.2f}" if found.ratio < MAX_RATIO else "–"
    mean = amount(Estimate(found.mean, found.half_width, found.num), unit, sign=True)
    return [
        mean,
        *errors,
        ratio,
        str(found.num) + (f" of {found.num + found.num_without}" if found.num_without else ""),
    ]


def with_count(found: Estimate, unit: str) -> str:
    """As `amount`, with "(4 of 5)" where not all seeds have a value."""
    count = f" ({found.num} of {found.num + found.num_without})" if found.num and found.num_without else ""
    return amount(found, unit) + count


def amount(found: Estimate, unit: str, *, sign: bool = False) -> str:
    """ "0.9312 ± 0.0041", "395 ± 12 Mbit"; a dash where there is nothing, no interval for a single seed."""
    if found.num == 0:
        return "–"
    plus = "+" if sign else ""
    spread = math.isfinite(found.half_width)
    if unit == "accuracy":
        return f"{found.mean:{plus}.4f}" + (f" ± {found.half_width:.4f}" if spread else "")
    largest = max(abs(found.mean), found.half_width if spread else 0.0)
    as_it_is = unit == "" or (unit == "s" and largest >= 0.1)  # 93.1 s, but 4.2 ms
    factor, scaled_unit = (1.0, unit) if as_it_is else scale(largest, unit)
    digits = _decimals(largest / factor)
    text = f"{found.mean / factor:{plus}.{digits}f}"
    text += f" ± {found.half_width / factor:.{digits}f}" if spread else ""
    return f"{text} {scaled_unit}".rstrip()


def scale(largest: float, unit: str) -> tuple[float, str]:
    """(factor, unit with prefix) as `si` chooses them for the largest number."""
    if largest == 0.0:
        return 1.0, unit
    number, scaled_unit = si(largest, unit).split(" ", 1)
    return 10.0 ** round(math.log10(largest / float(number))), scaled_unit


def _decimals(largest: float) -> int:
    """That show three digits."""
    return 2 if largest == 0.0 else min(max(2 - math.floor(math.log10(largest * 1.0005)), 0), 9)


def _csv_number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---"] * len(escaped[0])
    return [f"| {' | '.join(line)} |" for line in (escaped[0], rule, *escaped[1:])]
