"""Views: everything kvmplan prints. They subscribe to plans and events; nothing below them prints.

A view turns values into text or JSON and decides nothing. Sensitive values are replaced here,
before anything is formatted or serialised. Standard library only.
"""
