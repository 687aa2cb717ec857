"""``python -m serve_app``."""

import sys

from serve_app.cli import main

if __name__ == "__main__":
    sys.exit(main())
