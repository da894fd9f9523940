"""Derivations that a machine checks.

For each module of the theory: the statements, and the steps that reach them from stated assumptions.
"""
