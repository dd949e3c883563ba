"""The protocol by which writers, stoppers and readers share a stream; pure: no I/O, no clock.

Each operation is a generator that yields what it wants done to the log (:class:`Append`, :class:`Read`, :class:`Tail`),
is sent the answer, and has the log's errors thrown into it where it stands. So the decisions can be read in one piece,
and a test can run any number of them against one model log in every order, with every reply lost.

The rules:

- A stream's fencing token is its state: free, owned, or ended (:class:`~resumable_stream.protocol.layout.Token`).
  Owning is changed by compare-and-swap on the token alone.
- A claim reads nothing: a refused swap returns the current token.
- The owner appends under its token *and* the position it expects. When an outcome is unknown, the same records go
  again under the same conditions; what then refuses them is told apart by reading the range they would have taken.
- Whoever ends a generation does it in one append: closing chunks, end facts, terminal fence. The token changes with it,
  so there is one terminal, and nothing can follow it under the old token.
- A takeover names the old token and the tail at which the owner was found silent, so an owner that has written since
  refuses it.

May import ``formats``, ``backends.base``, ``records`` and what is below them.
"""
