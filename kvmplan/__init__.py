"""kvmplan: declarative infrastructure for libvirt hosts, without a state file."""

__version__ = "0.1.0"
