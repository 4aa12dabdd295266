"""The lens: read a document into a tree of fields, and patch a *difference* into a document.

Laws (tests/laws): patching nothing changes no byte; after patching, reading gives what was asked;
what no change names is not touched. Creation is skeleton + patch, update is live document + patch:
this is the one writer of XML.
"""

from kvmplan.mapping.patch import lacking, make_item, patch
from kvmplan.mapping.read import Context, Path, Tree, keyed, read
from kvmplan.mapping.write import Edit

__all__ = ["Context", "Edit", "Path", "Tree", "keyed", "lacking", "make_item", "patch", "read"]
