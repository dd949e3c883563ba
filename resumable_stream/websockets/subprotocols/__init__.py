"""The subprotocols of websockets: each module turns texts into commands, and what the server says into texts.

May import what ``websockets`` may.
"""
