r"""Theory against measurement: the recorded trace, decoding that was really run, predictions made before it.

Every row sets a prediction beside a measurement of the same quantity, and belongs to a class that its
statement decides: an *identity* is charged by the formula that predicts it and tells nothing but that both
are the same; an *internal* row is predicted from the contexts that were met; a *forecast* from a trace alone,
on prompts that it never saw (`predict`, `judge_predictions`). Only forecasts count.

Of internal rows, ``ci95`` is the interval of the measurement around its prediction: predicted + the 95 %
interval of (measured - predicted), by prompts. Both come from the same tokens, so the noise they share
cancels. Where theory also knows the sampling noise given the contexts (a coin with a known chance, say), the
interval is widened to at least that noise: resampling cannot see rare events that did not happen.
"""

from calibration.compare._decoded import DecodedTable as DecodedTable
from calibration.compare._decoded import compare_decoded as compare_decoded
from calibration.compare._decoded import read_decoded as read_decoded
from calibration.compare._front import read_front as read_front
from calibration.compare._predictions import Judged as Judged
from calibration.compare._predictions import Prediction as Prediction
from calibration.compare._predictions import Predictions as Predictions
from calibration.compare._predictions import Verdict as Verdict
from calibration.compare._predictions import judge_predictions as judge_predictions
from calibration.compare._predictions import predict as predict
from calibration.compare._rows import Row as Row
from calibration.compare._rows import agreement as agreement
from calibration.compare._trace import compare_trace as compare_trace
