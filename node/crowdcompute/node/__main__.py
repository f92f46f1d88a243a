"""`python -m crowdcompute.node`, the same as `cc-node`."""

import sys

from .cli import main

sys.exit(main())
