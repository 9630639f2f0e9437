"""Judging a result against its original: metrics, statistics, comparison and gates."""
