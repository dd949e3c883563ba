"""What a websocket says and does, without any server or framework: frames, subscriptions, turns.

A :class:`~resumable_stream.websockets.connection.Connection` is one socket. It receives the texts of its client, and
sends through a function; a consumer puts it between an ASGI server and a view. A subprotocol, a
:class:`~resumable_stream.websockets.subprotocols.base.SocketDialect`, decides what the texts look like.

May import ``chat`` and what is below it, except ``http``.
"""
