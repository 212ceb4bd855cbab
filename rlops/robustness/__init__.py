"""Robustness: what a policy is worth in worlds that are not quite the one that it was trained in.

:func:`rlops.robustness.report.robustness` plays the episodes of a :class:`~rlops.robustness.spec.Spec` and writes a
report; :mod:`rlops.robustness.statistics` says what the figures in it are worth.
"""
