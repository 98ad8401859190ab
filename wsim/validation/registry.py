"""What `wsim validate` compares: a visible list of subjects.

A subject is a function of the effort, a whole number of 1 or more: so many times the samples are drawn. It yields its
comparisons; at effort 1 all subjects together take less than a minute, and every standard error is a third of its tolerance
at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wsim.validation import (
    computing,
    doppler,
    fading,
    gauss_markov,
    handover,
    interference,
    line_of_sight,
    manhattan,
    mobility,
    over_the_air,
    path_loss,
    selectivity,
    shadowing,
    transfers,
)
from wsim.validation.comparison import Comparison

Subject = Callable[[int], Iterator[Comparison]]

SUBJECTS: dict[str, Subject] = {
    "path_loss": path_loss.comparisons,
    "fading": fading.comparisons,
    "doppler": doppler.comparisons,
    "selectivity": selectivity.comparisons,
    "shadowing": shadowing.comparisons,
    "line_of_sight": line_of_sight.comparisons,
    "mobility": mobility.comparisons,
    "gauss_markov": gauss_markov.comparisons,
    "manhattan": manhattan.comparisons,
    "handover": handover.comparisons,
    "interference": interference.comparisons,
    "over_the_air": over_the_air.comparisons,
    "transfers": transfers.comparisons,
    "computing": computing.comparisons,
}
