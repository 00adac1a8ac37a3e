"""What a scenario is: roles that run side by side; read from YAML, and sent as JSON to the process that starts them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgeprof.workloads.catalog import WORKLOADS
from edgeprof.workloads.errors import WrongSpec
from edgeprof.workloads.scenarios.cgroups import LAUNCHER
from edgeprof.workloads.spec import WorkloadSpec

FOLDER = Path(__file__).parent
KINDS = ("workload", "recorder", "tiles", "command")
MOST_ROLES = 32
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_SCENARIO_NAME = re.compile(r"\w[\w .-]{0,63}")


@dataclass(frozen=True)
class Role:
    """One program of a scenario.

    Attributes:
        name: of the role; its cgroup is ``role-NAME``.
        kind: one of `KINDS`.
        workload: of the kind ``workload``: what to train or infer.
        command: of the kind ``command``: program and arguments; ``{data}`` stands for the scenario's folder.
        rate: of ``recorder`` and ``tiles``: frames written, or tiles read, a second.
        bytes: of ``recorder`` and ``tiles``: size of one of them.
        total: of ``recorder``: bytes after which it begins to overwrite; of ``tiles``: size of the map.
        sync: of ``recorder``: seconds between two fsync calls; 0: never.
        deadline: seconds in which a frame or tile must be done; 0: before the next one.
        data: of ``tiles``: the map's file; set by the machine that makes it.
    """

    name: str
    kind: str
    workload: WorkloadSpec | None = None
    command: tuple[str, ...] = ()
    rate: float = 30.0
    bytes: int = 200_000
    total: int = 64_000_000
    sync: float = 1.0
    deadline: float = 0.0
    data: str = ""


@dataclass(frozen=True)
class ScenarioSpec:
    """Roles that run side by side for ``seconds`` after all of them are ready.

    Attributes:
        name: of the scenario.
        roles: by order of their start.
        seconds: of the measured part.
        ready: seconds that the roles may take to become ready.
        folder: where roles write (frames, checkpoints); what they wrote is removed afterwards.
        data_bytes: size of each data set that is made for the roles' models.
        seed: of the data, the weights and the order of samples.
    """

    name: str
    roles: tuple[Role, ...] = field(default_factory=tuple)
    seconds: float = 60.0
    ready: float = 600.0
    folder: str = ""
    data_bytes: int = 64 << 20
    seed: int = 0

    def __post_init__(self) -> None:
        names = [role.name for role in self.roles]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise WrongSpec(f"the scenario has two roles {twice!r}; give each a name of its own")
        if not 1 <= len(names) <= MOST_ROLES:
            raise WrongSpec(f"a scenario has between 1 and {MOST_ROLES} roles, this one has {len(names)}")
        if not _SCENARIO_NAME.fullmatch(self.name):  # of a folder, too
            raise WrongSpec(f"{self.name!r} cannot name a scenario: use letters, digits, blanks, '.', '_' and '-'")
        if not (0 < self.seconds < float("inf") and 0 < self.ready < float("inf")):
            raise WrongSpec("seconds and ready must be above 0")

    def to_json(self) -> str:
        """The spec as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ScenarioSpec:
        """Read a spec.  Raises WrongSpec naming what is wrong."""
        try:
            return scenario_of(json.loads(text))
        except ValueError as error:
            raise WrongSpec(f"the scenario's spec is not right: {error}") from None

    def changed(self, size: str | None, seconds: float, data_bytes: int, seed: int) -> ScenarioSpec:
        """The same on other data; size, time and seed stay what they are where None or 0 is given."""
        roles = tuple(
            replace(
                role, workload=replace(role.workload, size=size or role.workload.size, seed=seed or role.workload.seed)
            )
            if role.workload
            else role
            for role in self.roles
        )
        seconds = seconds or self.seconds
        return replace(self, roles=roles, seconds=seconds, data_bytes=data_bytes, seed=seed)


def names() -> list[str]:
    """Scenarios that come with edgeprof."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_scenario(path: Path) -> ScenarioSpec:
    """Read a scenario from YAML.  Raises WrongSpec: it cannot be read, or says what there is not."""
    try:
        import yaml
    except ImportError:
        raise WrongSpec("reading a scenario needs PyYAML: pip install 'edgeprof[matrix]'") from None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSpec(f"the scenario {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise WrongSpec(f"the scenario {path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        if not isinstance(content, dict):
            return scenario_of(content)
        options = next((key for key in ("data_bytes", "seed", "folder") if key in content), None)
        if options:
            raise WrongSpec(f"{options!r} does not stand in a file: `edgeprof run` has options for it")
        return scenario_of({"name": path.stem, **content})
    except WrongSpec as error:
        raise WrongSpec(f"the scenario {path}: {error}") from None


def scenario_of(content: Any) -> ScenarioSpec:
    """The spec that a mapping of plain values says; roles are a mapping by name, or a list.  Raises WrongSpec."""
    if not isinstance(content, Mapping):
        raise WrongSpec("a scenario is a mapping with roles")
    values = _known(content, ScenarioSpec, "the scenario")
    if not isinstance(values.get("name"), str):
        raise WrongSpec("a scenario needs a name: a text")
    roles = values.get("roles")
    if isinstance(roles, Mapping):
        roles = [dict(role, name=name) if isinstance(role, Mapping) else role for name, role in roles.items()]
    if not isinstance(roles, list):
        raise WrongSpec("a scenario needs roles: a name and what it does for each")
    return ScenarioSpec(**{**values, "roles": tuple(_role(role) for role in roles)})


def _role(content: Any) -> Role:
    if not isinstance(content, Mapping) or not isinstance(content.get("name"), str):
        raise WrongSpec(f"a role is a mapping, and not {content!r}")
    name = content["name"]
    if not _NAME.fullmatch(name) or name == LAUNCHER:
        raise WrongSpec(f"{name!r} cannot name a role: use small letters, digits, - and _, and not {LAUNCHER!r}")
    content = dict(content, kind=content.get("kind") or "workload")
    if content["kind"] not in KINDS:
        raise WrongSpec(f"the role {name} has an unknown kind {content['kind']!r}; there are: {', '.join(KINDS)}")
    workload = content.get("workload")
    if content["kind"] == "workload" and not isinstance(workload, Mapping):
        own = {item.name for item in fields(WorkloadSpec)} & set(content)
        content["workload"] = workload = {key: content.pop(key) for key in own}
    values = _known(content, Role, f"the role {name}")
    if content["kind"] == "workload":
        values["workload"] = _workload(name, workload)
    else:
        values["workload"] = None
    command = values.get("command", ())
    if content["kind"] == "command" and not (
        isinstance(command, (list, tuple)) and command and all(isinstance(word, str) for word in command)
    ):
        raise WrongSpec(f"the role {name} needs a command: a list of words")
    values["command"] = tuple(command)
    role = Role(**values)
    if not (role.rate > 0 and role.bytes > 0 and role.total >= role.bytes and role.sync >= 0 and role.deadline >= 0):
        raise WrongSpec(f"the role {name}: rate and bytes must be above 0, and total at least bytes")
    return role


def _workload(role: str, values: Any) -> WorkloadSpec:
    if not isinstance(values, Mapping) or str(values.get("workload")) not in WORKLOADS:
        raise WrongSpec(f"the role {role} needs a workload; `edgeprof workloads` lists them")
    try:
        return WorkloadSpec.from_json(json.dumps(dict(values)))
    except (TypeError, ValueError) as error:
        raise WrongSpec(f"the role {role}: {error}") from None


def _known(content: Mapping[str, Any], kind: type, what: str) -> dict[str, Any]:
    """The values that a dataclass of plain fields takes, each of the field's type."""
    found: dict[str, Any] = {}
    for item in fields(kind):
        if item.name not in content:
            continue
        value = content[item.name]
        default = item.default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(default, (str, int, float)) and type(value) is not type(default):
            raise WrongSpec(f"{what} has a wrong {item.name}: {value!r}")
        found[item.name] = value
    unknown = [key for key in content if key not in found]
    if unknown:
        raise WrongSpec(f"{what} has an unknown key {unknown[0]!r}")
    return found
