"""libvirt's polkit access driver on a private host, with a bus, a polkitd and users of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.integration.support import Run, wait_until
from tests.privatehost import PrivateHost

ROOT = Path(__file__).parents[2]
USERS = {"planner": (6001, "kvmplan-plan"), "operator": (6002, "kvmplan-apply")}
CONFIGURATION = "etc/libvirtd.conf"
LOGGING = """\
var asked = {};
polkit.addRule(function (action, subject) {
  var line = subject.user + " " + action.id;
  if (!asked[line] && action.id.indexOf("org.libvirt.api.") === 0) {
    asked[line] = true;
    polkit.spawn(["/bin/sh", "-c", "echo " + line + " >> FILE"]);
  }
  return polkit.Result.NOT_HANDLED;
});
"""
START = """\
set -e
mount -t tmpfs tmpfs /run/dbus
dbus-daemon --system --fork --nopidfile
mount --bind {rules} /etc/polkit-1/rules.d
(/usr/lib/polkit-1/polkitd --no-debug </dev/null >/dev/null 2>&1 &)
kill $(cat /run/libvirt/libvirtd.pid)
while [ -e /proc/$(cat /run/libvirt/libvirtd.pid 2>/dev/null || echo none) ]; do sleep 0.05; done
"""
ON_THE_BUS = ("dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/")


@dataclass
class Guarded:
    """A private host on which users can do what polkit lets them."""

    host: PrivateHost

    @property
    def _asked(self) -> Path:
        return self.host.directory / "asked" / "log"

    def make_users(self) -> None:
        """Users that only this host knows, each in its group."""
        for name, pattern in (
            ("passwd", "{u}:x:{n}:{n}::/:/bin/sh\n"),
            ("group", "{g}:x:{n}:{u}\n"),
        ):
            file = self.host.directory / name
            lines = [pattern.format(u=u, n=n, g=g) for u, (n, g) in USERS.items()]
            file.write_text(Path("/etc", name).read_text() + "".join(lines))
            self.host.run(["mount", "--bind", str(file), f"/etc/{name}"])

    def guard(self, rules: Path) -> None:
        """From now on polkit decides, by these rules."""
        folder = self.host.directory / "rules"
        folder.mkdir()
        self._asked.parent.mkdir()
        self._asked.parent.chmod(0o777)
        (folder / "00-log.rules").write_text(LOGGING.replace("FILE", str(self._asked)))
        shutil.copy(rules, folder)
        configuration = self.host.directory / CONFIGURATION
        text = configuration.read_text().replace("0700", "0777")
        configuration.write_text(text + 'access_drivers = [ "polkit" ]\n')
        self.host.run(["sh", "-c", START.format(rules=folder)])
        self.host.run(["libvirtd", "-d", "-p", "/run/libvirt/libvirtd.pid"])
        wait_until(self._answers, "libvirtd answers and polkitd is there")

    def _answers(self) -> bool:
        names = self.host.run([*ON_THE_BUS, "org.freedesktop.DBus.ListNames"], check=False)
        up = self.host.run(["virsh", "-c", "qemu:///system", "uri"], check=False)
        return "PolicyKit1" in names.stdout and up.returncode == 0

    def kvmplan(self, user: str, *arguments: str | Path, env: dict[str, str] | None = None) -> Run:
        """Run kvmplan inside as a user, who may read all files (the interpreter may be root's)."""
        number = USERS[user][0]
        may_read = "-all,+dac_read_search"
        command = ["env", f"PYTHONPATH={ROOT}", *(f"{k}={v}" for k, v in (env or {}).items())]
        command += ["setpriv", f"--reuid={number}", f"--regid={number}", "--init-groups"]
        command += [f"--inh-caps={may_read}", f"--ambient-caps={may_read}"]
        command += [sys.executable, "-m", "kvmplan", *map(str, arguments)]
        done: subprocess.CompletedProcess[str] = self.host.run(command, check=False)
        return Run(done.returncode, done.stdout, done.stderr)

    def asked(self, user: str) -> set[str]:
        """The permissions that libvirt has asked for about a user, such as ``domain.read``."""
        lines = self._asked.read_text().split("\n") if self._asked.exists() else []
        found = (line.split(" ") for line in lines if line)
        return {action.removeprefix("org.libvirt.api.") for who, action in found if who == user}
