"""What is said on a websocket: one module for each subprotocol, text in and text out.

Imports ``chat`` and what is below it.
"""
