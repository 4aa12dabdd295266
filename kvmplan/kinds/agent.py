"""Where the guest agent's channel is in a document: https://wiki.qemu.org/Features/GuestAgent.

Apart from the fields, so that whoever only looks for it need not load them.
"""

from __future__ import annotations

AGENT = "./devices/channel[target/@name='org.qemu.guest_agent.0']"
"""The channel."""

CONNECTED_AGENT = f"{AGENT}[target/@state='connected']"
"""The same in a running document, while the agent inside listens; an XPath."""
