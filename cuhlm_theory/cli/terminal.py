"""What a terminal or a file may be sent: nothing that steers it, nothing that its encoding lacks."""

import codecs
import io
import re
import sys
import unicodedata

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def prepare() -> None:
    """Let standard output and error say what their encoding lacks in the nearest way, not fail half-way."""
    codecs.register_error("cuhlm", nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="cuhlm")


def printable(text: str) -> str:
    """Return a text as a terminal may have it: what would steer it, and halves of characters, as escapes."""
    return _STEERING.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def nearest(error: UnicodeError) -> tuple[str, int]:
    """Answer for characters that the output's encoding lacks: a plainer form, else a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = unicodedata.normalize("NFKD", error.object[error.start : error.end])
    return lacking.encode("ascii", "replace").decode(), error.end
