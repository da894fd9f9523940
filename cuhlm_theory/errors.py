"""What can go wrong: bad input is a ``ValueError``, a computation without an answer a `CuhlmError`."""


class CuhlmError(Exception):
    """A computation that cannot be done; its text gives the reason and the knob to turn."""


class DivergentError(CuhlmError):
    """The quantity asked for is infinite."""


class InfeasibleError(CuhlmError):
    """No policy meets the budgets that were given."""


class MissingInputError(CuhlmError):
    """The answer needs something that was not given, such as the law of the uncertainty."""


class PacketError(CuhlmError):
    """A packet was cut short, altered, or written in another form than the reader expects."""
