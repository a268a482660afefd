"""Prints the lowest dependencies that setup.cfg allows, as constraints of pip.

    python .ci/lowest.py > lowest.txt
    PIP_CONSTRAINT=$PWD/lowest.txt make test

Tools that check the sources or build the site stay new: what they say depends on the version.
"""

import configparser
import re
from pathlib import Path

config = configparser.ConfigParser()
config.read(Path(__file__).parents[1] / "setup.cfg")
extras = config["options.extras_require"]
lines = (config["options"]["install_requires"] + extras["test"]).splitlines()
for name, version in re.findall(r"^([\w-]+)>=([\w.]+)$", "\n".join(lines), re.MULTILINE):
    print(f"{name}=={version}")
