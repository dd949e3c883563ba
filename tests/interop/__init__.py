"""Streams shared with services that are not ours."""
