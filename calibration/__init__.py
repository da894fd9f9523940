"""From real pairs of models to what the theory takes, and back: calibrate, decode, compare."""

from calibration.calibration import Calibration
from calibration.finding import load

__all__ = ["Calibration", "load"]
