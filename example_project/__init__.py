"""A chat page on ``resumable_stream``: what a project of your own would contain, and nothing to set up."""
