"""`cuhlm explore`: a local page of sliders over a calibration, answered as `cuhlm optimize` answers.

What the page stands at is a `setting`; `work` is computed on a `desk`, a process of its own; `panels` show it
and `page` lays them out. NiceGUI is the framework: Python alone, live over a websocket, and all that the
browser needs comes out of its wheel, so that the page works without a network.
"""
