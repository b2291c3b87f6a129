"""`python -m gnnrl`."""

import sys

from gnnrl.cli.main import main

sys.exit(main())
