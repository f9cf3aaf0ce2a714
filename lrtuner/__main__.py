"""Looks at finished searches and sweeps models from the shell: `python -m lrtuner --help`."""

from __future__ import annotations

import sys

from lrtuner.command import main

sys.exit(main())
