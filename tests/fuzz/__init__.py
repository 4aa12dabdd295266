"""Fuzzing: whatever comes in from outside gives an answer or a diagnostic, soon, in little memory.

`targets` is what takes bytes, `seeds` where they begin. `test_targets` runs every target over
mutated seeds in the suite; ``python -m tests.fuzz TARGET SECONDS`` lets atheris search on, guided
by coverage.
"""
