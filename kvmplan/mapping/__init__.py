"""The field language: a field is declared once, and reading, patching, diffing and its docs follow.

Knows no kind and no libvirt. `markers` are what declarations are made of, `model` binds and checks
them, `lens` reads and patches documents, `reference` writes schema and reference pages.
"""
