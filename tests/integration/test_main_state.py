"""What a guest keeps outside of its disks, UEFI variables and TPM state, survives every change."""

from __future__ import annotations

from pathlib import Path

import libvirt

from tests.integration.support import Stack, idle_domain, stack
from tests.privatehost import PrivateHost

MARK = b"kvmplan was here"


class State:
    """A guest's state on its host, marked."""

    def __init__(self, host: PrivateHost, made: Stack, uuid: str) -> None:
        var = host.directory / "var"
        self.tpm = var / "swtpm" / uuid / "tpm2"
        self.nvram = var / "qemu" / "nvram" / f"{made.tag}_VARS.fd"

    def mark(self) -> None:
        """Leave a word in both, where neither firmware nor TPM looks."""
        (self.tpm / "mark").write_bytes(MARK)
        with self.nvram.open("r+b") as file:
            file.seek(-len(MARK), 2)
            file.write(MARK)

    @property
    def is_whole(self) -> bool:
        """Whether both are there, and are the ones that were marked."""
        return (
            any(self.tpm.glob("*.permall"))
            and _ends_marked(self.tpm / "mark")
            and _ends_marked(self.nvram)
        )

    @property
    def is_gone(self) -> bool:
        """Whether nothing is left of either."""
        return not self.tpm.exists() and not self.nvram.exists()


def _ends_marked(file: Path) -> bool:
    return file.exists() and file.read_bytes().endswith(MARK)


def test_nvram_and_tpm_survive_all_but_their_own_word(
    private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        spec = idle_domain(
            firmware={"type": "uefi", "secure_boot": True},
            tpm={"version": "2.0"},
            force=True,
            shutdown_timeout="1s",
            state="running",
        )
        made.specs["domains"] = {made.tag: spec}
        made.apply()
        made.in_sync()
        domain = conn.lookupByName(made.tag)
        state = State(private_host, made, domain.UUIDString())
        domain.destroy()
        state.mark()
        domain.create()

        spec |= {"title": "live", "memory": "128MiB", "watchdog": {"action": "none"}}
        made.settle()
        assert state.is_whole
        for wanted in ("stopped", "running"):
            spec["state"] = wanted
            made.settle()
            assert state.is_whole
        private_host.restart()
        made.in_sync()

        destroyed = made.destroy()
        assert "NVRAM and TPM state stay" in destroyed.out
        assert state.is_whole
        made.apply()
        assert state.is_whole
        made.in_sync()
        gone = made.destroy("--allow-data-loss", f"domain.{made.tag}")
        assert "its NVRAM and TPM state are removed" in gone.out
        assert state.is_gone
