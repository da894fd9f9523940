"""The command `cuhlm`: one module a subcommand, loaded only when it is called."""

from cuhlm_theory.cli.app import main

__all__ = ["main"]
