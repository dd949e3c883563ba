"""Check that a wheel holds exactly the tracked files of the package: nothing forgotten, no tests, no example."""

import subprocess
import sys
import zipfile

PACKAGE = "resumable_stream"


def main(path: str) -> None:
    listed = subprocess.run(["git", "ls-files", "-z", PACKAGE], capture_output=True, text=True, check=True)
    tracked = {name for name in listed.stdout.split("\0") if name}
    packed = {name for name in zipfile.ZipFile(path).namelist() if ".dist-info/" not in name}
    if forgotten := tracked - packed:
        sys.exit(f"The wheel lacks {', '.join(sorted(forgotten))}.")
    if too_much := packed - tracked:
        sys.exit(f"The wheel should not hold {', '.join(sorted(too_much))}.")
    print(f"The wheel holds the package's {len(packed)} files and nothing else.")


main(*sys.argv[1:])
