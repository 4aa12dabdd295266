"""The command `tests/lab`."""

import argparse
import sys

from tests.privatehost.errors import LabError
from tests.privatehost.guest import tiny_guest
from tests.privatehost.host import PrivateHost, hosts


def main() -> int:
    """Run the command line; errors are one message on standard error and exit code 1."""
    arguments = _parser().parse_args()
    try:
        _run(arguments)
    except LabError as error:
        print(f"tests/lab: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "up":
            print(PrivateHost(arguments.name).up())
        case "down":
            PrivateHost(arguments.name).down()
        case "restart":
            PrivateHost(arguments.name).restart()
        case "kill":
            PrivateHost(arguments.name).kill()
        case "exec":
            if not arguments.argv:
                raise LabError("exec needs a command to run")
            PrivateHost(arguments.name).replace_process(arguments.argv)
        case "list":
            for host in hosts():
                print(host.name, "up" if host.is_up else "dead", host.uri, sep="\t")
        case "guest":
            print(tiny_guest().directory)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/lab",
        description="Private libvirt hosts for trying things out; the machine's own libvirt is"
        " never touched. Needs root. State: $KVMPLAN_LAB_DIR, else /var/tmp/kvmplan-lab-UID.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = {
        "up": "start host NAME unless it runs, and print its URI",
        "down": "end host NAME and remove all of it",
        "restart": "restart libvirtd of host NAME; its guests go on",
        "kill": "end libvirtd of host NAME with SIGKILL; `restart` brings it back",
        "exec": "run a command inside host NAME",
    }
    for command, text in named.items():
        sub = commands.add_parser(command, help=text, description=text)
        sub.add_argument("name", metavar="NAME", help="a-z, 0-9 and inner hyphens")
        if command == "exec":
            sub.add_argument("argv", metavar="CMD", nargs=argparse.REMAINDER)
    commands.add_parser("list", help="print name, state and URI of every host")
    commands.add_parser("guest", help="build the tiny guest once and print its directory")
    return parser
