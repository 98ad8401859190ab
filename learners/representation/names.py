"""Names of what is measured of representations, for scenarios; imports no torch.

"own": training features of a device against its own test features; "cross": against those of every other device, what only those
can be good at who have learned to agree.
"""

from __future__ import annotations

from typing import Literal, get_args

Accuracy = Literal[
    "own_subspace_accuracy",
    "cross_subspace_accuracy",
    "others_subspace_accuracy",
    "pooled_subspace_accuracy",
    "own_centered_subspace_accuracy",
    "cross_centered_subspace_accuracy",
    "own_knn_accuracy",
    "cross_knn_accuracy",
    "own_abs_knn_accuracy",
    "cross_abs_knn_accuracy",
    "own_linear_probe_accuracy",
    "cross_linear_probe_accuracy",
    "own_svm_accuracy",
    "cross_svm_accuracy",
]
Number = Literal["coding_rate", "class_coding_rate", "consensus_gap", "effective_rank", "between_classes"]
Metric = Literal[Accuracy, Number, "similarity"]
"""similarity: features of common test samples, kept at the end of a run for a picture."""

ACCURACIES: tuple[str, ...] = get_args(Accuracy)

COMPONENTS: dict[str, tuple[str, ...] | str] = {
    "coding_rate": ("local", "pooled", "class_rate"),
    "class_coding_rate": "class",
    "consensus_gap": ("total", "per_shared_class"),
    "effective_rank": ("own", "pooled"),
    "between_classes": ("pooled",),
}
"""Of the numbers, what they are made of, as `learners.protocol.Learner.measures`."""

DEFAULT_ACCURACY = "own_subspace_accuracy"
"""Where a task has no head, and nothing else is asked for."""
