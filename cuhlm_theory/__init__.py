"""Closed forms and optimisers for communication-efficient hybrid language models.

One module a section of the theory; import the module and call its functions, for example
``from cuhlm_theory import law``. Nothing here loads a model, reads a file or prints.
"""
