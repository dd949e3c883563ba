"""What a websocket says and does, without any server or framework: frames, subscriptions, turns.

A :class:`~resumable_stream.websockets.connection.Connection` is one socket. It is given the texts that come in, and sends
through a function; a consumer puts it between an ASGI server and a view. What the texts look like is up to a
:class:`~resumable_stream.websockets.subprotocols.base.SocketDialect`.
"""
