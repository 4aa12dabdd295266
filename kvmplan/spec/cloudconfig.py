"""Mistakes that people make in documents of cloud-init, which it tells nobody about.

Not a schema: what is known to be wrong is said, and everything else is left to cloud-init.
https://docs.cloud-init.io/en/latest/reference/modules.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

CLOUD_CONFIG = "#cloud-config"
BEGINNINGS = (
    CLOUD_CONFIG,
    "#!",
    "## template: jinja",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "Content-Type:",
    "MIME-Version:",
    "From nobody",
)
"""What user data begins with: https://docs.cloud-init.io/en/latest/explanation/format.html"""
LIST, MAP, TEXT, FLAG = "a list", "a mapping", "a text", "true or false"
TYPES: Mapping[str, tuple[str, ...]] = {
    "apt": (MAP,),
    "bootcmd": (LIST,),
    "chpasswd": (MAP,),
    "disable_root": (FLAG,),
    "disk_setup": (MAP,),
    "final_message": (TEXT,),
    "fqdn": (TEXT,),
    "fs_setup": (LIST,),
    "groups": (LIST, MAP, TEXT),
    "growpart": (MAP,),
    "hostname": (TEXT,),
    "locale": (TEXT, FLAG),
    "manage_etc_hosts": (FLAG, TEXT),
    "mounts": (LIST,),
    "ntp": (MAP,),
    "package_reboot_if_required": (FLAG,),
    "package_update": (FLAG,),
    "package_upgrade": (FLAG,),
    "packages": (LIST, MAP),
    "password": (TEXT,),
    "power_state": (MAP,),
    "preserve_hostname": (FLAG,),
    "resize_rootfs": (FLAG, TEXT),
    "runcmd": (LIST,),
    "ssh_authorized_keys": (LIST,),
    "ssh_deletekeys": (FLAG,),
    "ssh_keys": (MAP,),
    "ssh_pwauth": (FLAG, TEXT),
    "swap": (MAP,),
    "timezone": (TEXT,),
    "user": (TEXT, MAP),
    "users": (LIST, MAP, TEXT),
    "write_files": (LIST,),
}
"""The modules that are used most, and what they take."""
_OTHERS = """
allow_public_ssh_keys ansible apk_repos apt_pipelining autoinstall byobu_by_default ca_certs
ca-certs chef cloud_config_modules cloud_final_modules cloud_init_modules create_hostname_file
datasource device_aliases disable_ec2_metadata disable_root_opts drivers fan grub_dpkg keyboard
landscape launch-index locale_configfile lxd manage_resolv_conf mcollective merge_how merge_type
mount_default_fields network no_ssh_fingerprints output phone_home prefer_fqdn_over_hostname
puppet random_seed reporting resolv_conf rh_subscription rsyslog salt_minion snap spacewalk ssh
ssh_fp_console_blacklist ssh_genkeytypes ssh_import_id ssh_key_console_blacklist
ssh_publish_hostkeys ssh_quiet_keygen system_info ubuntu_advantage ubuntu_pro updates
vendor_data version wireguard yum_repo_dir yum_repos zypper
"""
OTHERS = frozenset(_OTHERS.split())
"""Others that are known, so that they are not taken for misspelt ones."""
NEAR = 0.85
USER_LISTS = ("ssh_authorized_keys", "ssh_import_id")


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and where below the document; no value of it is repeated.

    `doubtful`: it may be meant.
    """

    path: tuple[str, ...]
    summary: str
    remedy: str
    doubtful: bool = False


def check_user_data(value: Any) -> list[Mistake]:
    """What is wrong with user data or vendor data: a text, or a mapping."""
    if isinstance(value, Mapping):
        return list(_config(value))
    if not isinstance(value, str):
        return []
    if not value.startswith(BEGINNINGS):
        why = "it does not begin as user data does, and cloud-init would ignore it without a word"
        remedy = f"write {CLOUD_CONFIG} into its first line, or write a mapping"
        return [Mistake((), why, remedy)]
    if value.partition("\n")[0].rstrip() != CLOUD_CONFIG:
        return []
    tabbed = next((n for n, line in enumerate(value.split("\n"), 1) if _indented(line)), None)
    if tabbed is not None:
        return [Mistake((), f"its line {tabbed} is indented by a tab", "indent with blanks")]
    found = _parsed(value)
    if isinstance(found, Mistake):
        return [found]
    return list(_config(found)) if isinstance(found, Mapping) else []


def _indented(line: str) -> bool:
    return "\t" in line[: len(line) - len(line.lstrip())]


def _parsed(text: str) -> Any:
    import yaml

    try:
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or "it cannot be parsed"
        return Mistake((), f"it is no YAML: {problem}, in its line {line}", "correct it")
    except (yaml.YAMLError, ValueError):
        return Mistake((), "it is no YAML", "correct it")
    if found is not None and not isinstance(found, Mapping):
        return Mistake((), "it is no mapping of modules", "write MODULE: … lines")
    return found


def _config(config: Mapping[str, Any]) -> Iterator[Mistake]:
    for name, value in config.items():
        allowed = TYPES.get(name)
        if allowed is None:
            near = get_close_matches(str(name), TYPES, n=1, cutoff=NEAR)
            if near and name not in OTHERS:
                remedy = f"did you mean '{near[0]}'?"
                yield Mistake((str(name),), "no module takes that", remedy, doubtful=True)
        elif value is not None and _kind(value) not in allowed:
            summary = f"expected {' or '.join(allowed)}, got {_words(value)}"
            yield Mistake((name,), summary, _remedy(name, allowed, value))
    for name in ("users", "write_files"):
        if isinstance(config.get(name), list | tuple):
            check = _user if name == "users" else _file
            for index, item in enumerate(config[name]):
                yield from check((name, str(index)), item)


def _user(path: tuple[str, ...], item: Any) -> Iterator[Mistake]:
    if not isinstance(item, Mapping):
        return
    if "name" not in item and "snapuser" not in item:
        yield Mistake(path, "a user needs its name", "write name: …")
    for name in USER_LISTS:
        if name in item and _kind(item[name]) != LIST:
            summary = f"expected a list, got {_words(item[name])}"
            yield Mistake((*path, name), summary, "write it as a list: [ … ]")


def _file(path: tuple[str, ...], item: Any) -> Iterator[Mistake]:
    if not isinstance(item, Mapping) or not isinstance(item.get("path"), str):
        yield Mistake(path, "a file needs its path", "write {path: …, content: …}")
        return
    if isinstance(item.get("permissions"), int):
        summary = "its permissions are a number, which cloud-init takes for decimal"
        yield Mistake((*path, "permissions"), summary, "write them in quotes: '0644'")


def check_network(value: Any) -> list[Mistake]:
    """What is wrong with a network configuration."""
    if isinstance(value, str):
        found = _parsed(value)
        if isinstance(found, Mistake):
            return [found]
        value = found
    if not isinstance(value, Mapping):
        return []
    inner = value.get("network", value)
    version = inner.get("version") if isinstance(inner, Mapping) else None
    if version in (1, 2) or (isinstance(inner, Mapping) and inner.get("config") == "disabled"):
        return []
    return [Mistake((), "it does not say its version", "write version: 2 (as netplan does), or 1")]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return FLAG
    if isinstance(value, Mapping):
        return MAP
    return LIST if isinstance(value, list | tuple) else TEXT


def _words(value: Any) -> str:
    return (
        "a number"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else _kind(value)
    )


def _remedy(name: str, allowed: tuple[str, ...], value: Any) -> str:
    if FLAG in allowed and str(value).lower() in ("yes", "no", "on", "off"):
        return "write true or false: in YAML 1.2, yes and no are texts"
    if LIST in allowed and _kind(value) == TEXT:
        return f"write it as a list: {name}: [ … ]"
    return f"see {name} in cloud-init's reference"
