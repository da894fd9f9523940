"""A script a figure: each computes tables, draws them, and writes .pdf, .png and the .csv it drew.

`figures.catalogue` makes them all and lists which claim each one answers; `figures.style` is the only
place that touches matplotlib's settings; `figures.report` builds the page of one scenario.
"""
