"""Seeded fault runs: actors on two ways to one log, faults drawn from a seed, and an oracle that judges the history.

``python -m tests.faults --runs N --seed S`` runs more of them than the tests do.
"""
