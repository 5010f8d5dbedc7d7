import sys
from pathlib import Path

# The planner needs no torch, so its tests also run where the package is not installed.
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
