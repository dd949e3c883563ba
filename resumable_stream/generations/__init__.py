"""Answers that this process writes: their sources, their writers, their registry, and what a shutdown does with them.

May import ``readers``, ``protocol`` and what is below them.
"""
