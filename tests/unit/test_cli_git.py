"""Where a repository comes from, as claims may keep it: the same for all who use it, no secrets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kvmplan.cli.git import git_origin, plain_origin

SAME = [
    "https://git.example.org/team/lab.git",
    "https://git.example.org/team/lab/",
    "https://someone:t0ken@git.example.org/team/lab.git",
    "https://t0ken@GIT.example.org:8443/team/lab.git?private_token=t0ken",
    "https://a:t0k@en@git.example.org/team/lab#t0ken",
    "ssh://git@git.example.org:2222/team/lab.git",
    "git@git.example.org:team/lab.git",
    "git.example.org:/team/lab",
]


@pytest.mark.parametrize("url", SAME)
def test_every_way_to_a_repository_is_the_same_origin(url: str) -> None:
    assert plain_origin(url) == "git.example.org/team/lab"


@pytest.mark.parametrize(
    "url",
    ["", "/srv/git/lab.git", "../lab", "./a:b", "file:///srv/git/lab.git", "https://host", "x://"],
)
def test_what_says_nothing_to_other_machines_is_no_origin(url: str) -> None:
    assert plain_origin(url) == ""


@pytest.mark.parametrize(
    "url", ["user:t0ken@git.example.org:team/lab", "https://[2001:db8::1]:8443/lab", *SAME]
)
def test_no_credentials_remain(url: str) -> None:
    origin = plain_origin(url)
    assert origin
    assert not any(part in origin for part in ("t0k", "user", "someone", "@", "8443", "2222"))


def test_git_is_asked(tmp_path: Path) -> None:
    assert git_origin(tmp_path) == ""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert git_origin(tmp_path) == ""
    remote = ["remote", "add", "origin", "https://u:t0ken@git.example.org/lab.git"]
    subprocess.run(["git", "-C", str(tmp_path), *remote], check=True)
    (tmp_path / "specs").mkdir()
    assert git_origin(tmp_path / "specs") == "git.example.org/lab"
    assert git_origin(tmp_path / "specs" / "not-yet.yaml") == "git.example.org/lab"
    assert git_origin(tmp_path / "nowhere" / "at-all.yaml") == ""
