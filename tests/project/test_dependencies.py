"""What is installed: both bounds of each package, one statement of them, and one set that was tested as a whole."""

import re
import tomllib
from importlib.metadata import version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from processors.apify.api import HOW_TO_INSTALL as HOW_TO_INSTALL_APIFY
from tests.renew_constraints import CONSTRAINTS
from tests.runs import PROJECT
from utils.audio.ffmpeg import HOW_TO_INSTALL as HOW_TO_INSTALL_AV

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def requirements(name: str) -> dict[str, Requirement]:
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line.split("  #")[0]) for line in lines if line and not line.startswith(("#", "-r"))]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def test_every_package_has_both_bounds() -> None:
    """A release that nobody has tried reaches nobody."""
    found = [*requirements("requirements.txt").values(), *requirements("requirements-dev.txt").values()]
    found += [Requirement(text) for extra in EXTRAS.values() for text in extra]

    assert len(found) > 20
    for requirement in found:
        assert {given.operator for given in requirement.specifier} == {">=", "<"}, requirement


def test_the_tests_use_the_extras_as_users_install_them() -> None:
    """pyproject.toml, requirements-dev.txt and the messages to people name the same bounds."""
    tested = requirements("requirements-dev.txt")

    for (text,), told in ((EXTRAS["av"], HOW_TO_INSTALL_AV), (EXTRAS["apify"], HOW_TO_INSTALL_APIFY)):
        extra = Requirement(text)
        assert tested[canonicalize_name(extra.name)].specifier == extra.specifier
        assert f'pip install "{text}"' in told


def test_the_constraints_are_within_the_bounds() -> None:
    """Each package of ours is pinned to one version, which the bounds allow, on every Python."""
    pinned = requirements(CONSTRAINTS.name)

    for name, requirement in (requirements("requirements.txt") | requirements("requirements-dev.txt")).items():
        (pin,) = pinned[name].specifier
        assert pin.operator == "=="
        assert pin.version in requirement.specifier
        assert pinned[name].marker is None
    names = re.findall(r"(?m)^([\w-]+)==", CONSTRAINTS.read_text(encoding="utf-8"))
    assert len(names) == len(set(names))


def test_what_is_installed_is_within_the_bounds() -> None:
    """These tests say something about the packages that users get."""
    for name, requirement in (requirements("requirements.txt") | requirements("requirements-dev.txt")).items():
        assert version(name) in requirement.specifier, name
