"""Speed against torch and other libraries: `python -m benchmarks` (or `make bench`).

One file an operator in `ops/`, each with its list of cases; `common` says how columns are timed,
`machine` where, `results` what is stored, `report` how it is shown.
"""
