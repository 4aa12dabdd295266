"""The group of commands. Each is imported when it is called; ``--help`` reads the table below."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "init": ("init", "Make a stack file with a fresh uid and a first example."),
    "validate": ("validate", "Check spec files offline."),
    "plan": ("plan", "Show what apply would do, and whom it disturbs."),
    "apply": ("apply", "Make the host what the specs say."),
    "destroy": ("apply", "Remove what the stack owns, nothing else."),
    "show": ("show", "Show a saved plan, a live object, or how it was before a run."),
    "output": ("outputs", "Tell the stack's outputs, and its guests to other tools."),
    "drift": ("status", "Show what was changed by hand."),
    "status": ("status", "Show what is in sync, drifted, pending, held, orphaned."),
    "orphans": ("status", "List what the stack owns and no spec names."),
    "adopt": ("ownership", "Take ownership of live objects; touches nothing else."),
    "forget": ("ownership", "Drop ownership of objects; touches nothing else."),
    "hold": ("ownership", "Make every run leave objects alone."),
    "release": ("ownership", "Take a hold back."),
    "ssh": ("guest", "Log in to a guest, or run a command there."),
    "console": ("guest", "Open a guest's serial console."),
    "start": ("power", "Start domains of the stack, by hand."),
    "stop": ("power", "Shut domains of the stack down, by hand."),
    "restart": ("power", "Shut domains of the stack down and start them again, by hand."),
    "doctor": ("doctor", "Look at KVM, QEMU and libvirt, and say what to do."),
    "lock": ("lock", "Show who holds which lock."),
    "force-unlock": ("lock", "Remove a lock whose holder is gone."),
    "cache": ("cache", "List or prune the images that were fetched."),
    "version": ("version", "Print versions."),
}
"""Command -> module, one line of help."""


class LazyGroup(click.Group):
    """A group that imports a command when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"kvmplan.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A mistyped command gets the nearest one named."""
        name = args[0]
        if name not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"no such command '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def kvmplan() -> None:
    """Declarative infrastructure for libvirt hosts: plan, apply, no state file."""
