"""What training changed, as one page to look at: `python -m training.report` (see `__main__`).

`evaluations` reads what was measured, `ranking` finds the worst pictures, `summary` says what changed, `charts` draws
curves, `page` writes the HTML and `poster` the PNG. Nothing here runs a model, or computes what `evaluate` reports.
"""
