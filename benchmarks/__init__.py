"""Benchmarks: what resuming costs, as ratios against a bare ASGI app that sends the same frames from memory.

``python -m benchmarks [--quick] [NAME ...]``
"""
