"""The scenarios are run in a project of their own."""

collect_ignore = ["scenarios"]
