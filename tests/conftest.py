"""Property tests draw the same examples on every run and have no deadline on a busy machine."""

from hypothesis import settings

settings.register_profile("cuhlm", deadline=None, derandomize=True, database=None)
settings.load_profile("cuhlm")
