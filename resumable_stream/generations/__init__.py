"""Running answers: the generations of this process, their sources, their writers and what a shutdown does with them.

Imports the readers' layer, the protocol and what is below it.
"""
