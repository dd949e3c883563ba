"""Reading streams: one follow per stream and process, the readers that share it, and the plan of what each reader gets.

May import ``protocol``, ``formats``, ``backends`` and what is below them.
"""
