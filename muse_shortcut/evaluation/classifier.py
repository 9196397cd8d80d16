"""A two-sample test by classifier: can true and generated music be distinguished? An accuracy of 0.5 means that they
cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.evaluation.continuity import Measured
from muse_tokenizers.midi.continuity import feature_vector

__all__ = ["classification_accuracy"]

_FOLDS = 5


def classification_accuracy(measured: Sequence[Measured], candidate: str, seed: int) -> float | None:
    """Return the cross-validated accuracy of gradient-boosted trees that classify segments as a candidate's or true.

    Folds are by piece, so that no piece is in both the training and the test set; classes have equal weight.

    Args:
        measured: The measured continuations.
        candidate: "ours", "another" or "repeated".
        seed: Seed of the folds and the trees.

    Returns:
        The accuracy; None if there are fewer than two pieces per fold.

    Raises:
        ArgumentsError: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.model_selection import GroupKFold
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ArgumentsError(
            "the classifier needs scikit-learn: pip install 'muse-shortcut[evaluate]', or set {classifier} to false",
            options=("classifier",),
        ) from error
    pieces = sorted({one.name for one in measured})
    if len(pieces) < 2 * _FOLDS:
        return None
    rows, labels, groups = _examples(measured, candidate, pieces)
    correct = np.zeros(len(rows), dtype=bool)
    folds = GroupKFold(_FOLDS, shuffle=True, random_state=seed).split(rows, labels, groups)
    # Its threads wait for each other thousands of times, which takes minutes when another program is busy.
    with threadpool_limits(1):
        for train, test in folds:
            model: Any = HistGradientBoostingClassifier(
                max_iter=60, max_depth=3, min_samples_leaf=5, class_weight="balanced", random_state=seed
            )
            # Trees cannot use a feature that no segment has.
            useful = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in rows[train].T])
            correct[test] = (
                model.fit(rows[train][:, useful], labels[train]).predict(rows[test][:, useful]) == labels[test]
            )
    return float((correct[labels == 0].mean() + correct[labels == 1].mean()) / 2)


def _examples(measured: Sequence[Measured], candidate: str, pieces: Sequence[str]) -> tuple[Any, Any, Any]:
    """Return (features, labels, groups): every segment of the candidate has label 1; the true one of each piece has
    label 0, once."""
    rows, labels, groups = [], [], []
    seen: set[tuple[str, str]] = set()
    for one in measured:
        for label, name in ((0, "true"), (1, candidate)):
            # A candidate that is identical for all samples of a piece counts once.
            if name == "ours" or (one.name, name) not in seen:
                seen.add((one.name, name))
                rows.append(feature_vector(one.features[name]))
                labels.append(label)
                groups.append(pieces.index(one.name))
    return np.array(rows), np.array(labels), np.array(groups)
