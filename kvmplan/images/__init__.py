"""Images: bytes for new volumes, from the web or this machine, checked, unpacked and kept.

Knows neither libvirt nor specs. What is wrong is an `ImageError`; nothing unchecked is ever kept.
"""
