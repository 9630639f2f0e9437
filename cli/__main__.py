"""``python -m onnxslim_cli``."""

import sys

from .main import main

sys.exit(main())
