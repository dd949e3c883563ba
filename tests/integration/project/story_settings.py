"""The project's settings, with streams of strings rather than chats."""

from .settings import *  # noqa: F403 - that is what settings modules do

ROOT_URLCONF = "tests.integration.project.stories"
