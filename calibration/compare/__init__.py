r"""Theory against measurement: the recorded trace, and decoding that was really run.

Every row sets a prediction beside a measurement of the same quantity and an interval. ``ci95`` is the
interval of the measurement around its prediction: predicted + the 95 % interval of (measured - predicted),
by prompts. Where both come from the same tokens, the noise they share cancels, which makes the test sharper
than two separate intervals would. Where theory also knows the sampling noise given the contexts (a coin with
a known chance, say), the interval is widened to at least that noise: resampling cannot see rare events that
did not happen. A row agrees if its prediction lies in ``ci95``, a bound if the measurement does not exceed
it. Rows where theory fails stay, with the reason.
"""

from calibration.compare._decoded import DecodedTable as DecodedTable
from calibration.compare._decoded import compare_decoded as compare_decoded
from calibration.compare._decoded import read_decoded as read_decoded
from calibration.compare._front import read_front as read_front
from calibration.compare._rows import Row as Row
from calibration.compare._rows import agreement as agreement
from calibration.compare._trace import compare_trace as compare_trace
