"""Reading streams back: one follow per stream and process, the readers that share it, and the plan of what each gets.

Imports the protocol, formats, backends and what is below those.
"""
