"""Print the lowest versions that the package and its optional parts allow, one requirement a line, for pip."""

import configparser
import re

# Extras that users install; the tests' own tools are as new as they come.
EXTRAS = ("s2", "client", "channels", "example")


def lowest(requirement: str) -> str:
    """Turn ``name>=1.2,!=1.3`` into ``name==1.2``."""
    name, floor = re.match(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)", requirement).groups()
    return f"{name}=={floor}"


config = configparser.ConfigParser()
config.read("setup.cfg")
lines = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in EXTRAS)]
requirements = {line.strip() for text in lines for line in text.splitlines() if line.strip()}
print("\n".join(sorted(map(lowest, requirements))))
