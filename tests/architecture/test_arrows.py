"""The arrows of docs/architecture.md: which module may import which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "dlcodec"
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

ARROWS = {
    "errors": set(),
    "console": {"errors"},
    "limits": {"errors"},
    "arguments": {"errors"},
    "files": {"errors"},
    "families": set(),
    "container": {"arguments", "errors", "families", "limits"},
    "jpeg": {"errors"},
    "picture": set(),
    "metadata": {"picture"},
    "colour": {"picture"},
    "opening": set(),
    "sections": {"container", "errors", "metadata", "opening", "picture"},
    "thumbnail": {"colour", "container", "errors", "picture"},
    "formats": {"colour", "errors", "metadata", "opening", "picture"},
    "image": {"colour", "errors", "files", "jpeg", "limits", "memory", "metadata", "opening", "picture", "sections"},
    "entropy": {"arguments", "errors", "entropy", "tiles"},
    "changes": set(),
    "codecs": {"arguments", "changes", "errors", "families", "entropy", "codecs", "tiles"},
    "samples": set(),
    "tiles": set(),
    "lpips": {"errors"},
    "machine": set(),
    "memory": {"arguments", "errors", "limits"},
    "fusion": {"arguments", "changes", "errors", "fusion", "tiles"},
    "checkpoint": {"errors", "files", "limits"},
    "installed": {"checkpoint", "errors"},
    "info": {"container", "limits"},
    "loading": {"arguments", "checkpoint", "codecs", "errors", "fusion", "installed"},
    "coding": {"codecs", "container", "entropy", "errors"},
    "painting": {"arguments", "changes", "codecs", "errors", "memory", "picture", "tiles"},
    "pipeline": {
        *("arguments", "checkpoint", "codecs", "coding", "container", "entropy", "errors", "fusion", "image", "limits"),
        *("installed", "loading", "memory", "painting"),
        "picture",
    },
    "selection": {"checkpoint", "errors", "families", "installed"},
    "targets": {"errors"},
    "forecast": {"arguments", "painting", "pipeline"},
    "targeting": {
        *("arguments", "checkpoint", "codecs", "coding", "container", "entropy", "errors", "image", "limits"),
        *("forecast", "fusion", "installed", "loading", "painting", "picture", "pipeline", "sections", "targets"),
        "thumbnail",
    },
    "sheet": {"picture"},
    "windows": {"picture"},
    "compare": {"arguments", "container", "errors", "files", "image", "limits", "sheet", "windows", "picture"},
    "demo": {
        "arguments",
        "checkpoint",
        "console",
        "container",
        "files",
        "image",
        "installed",
        "limits",
        "pipeline",
        "samples",
        "sheet",
        "picture",
    },
    "pillow": {
        *("arguments", "container", "errors", "limits", "metadata", "models", "picture", "sections", "selection"),
    },
    "streams": {"errors", "files"},
    "batch": {"arguments", "batch", "container", "errors", "files", "image", "limits", "streams", "thumbnail"},
    "models": {"checkpoint", "errors", "installed"},
    "bench": {
        *("arguments", "bench", "checkpoint", "console", "container", "errors", "files", "formats", "importing"),
        *("fusion", "image", "installed", "limits", "loading", "machine", "models", "picture", "pipeline", "samples"),
    },
    "training": {
        *("checkpoint", "codecs", "coding", "console", "entropy", "errors", "families", "files", "fusion", "image"),
        *("arguments", "limits", "loading", "lpips", "selection", "training"),
    },
    "importing": {
        *("checkpoint", "codecs", "coding", "entropy", "errors", "files", "image", "importing", "limits", "samples"),
        "training",
        "picture",
    },
    "evaluation": {
        *(
            "arguments",
            "checkpoint",
            "console",
            "container",
            "errors",
            "evaluation",
            "files",
            "formats",
            "fusion",
            "image",
        ),
        *("installed", "limits", "loading", "lpips", "machine", "pipeline", "selection", "windows"),
        "picture",
    },
    "explore": {
        "arguments",
        "container",
        "errors",
        "explore",
        "files",
        "image",
        "installed",
        "limits",
        "pipeline",
        "selection",
        "picture",
    },
    "": {
        *("arguments", "container", "errors", "files", "image", "info", "limits", "picture", "pipeline", "sections"),
        *("loading", "memory", "models", "selection", "targeting", "targets", "thumbnail"),
    },
    "__main__": {"cli"},
}
"""Room -> the rooms it may import; "" is the package itself. The room cli has rules of its own."""


def _room(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def imported_modules(module: str) -> set[str]:
    """Every module that ``module`` imports, at any depth of its code, as absolute dotted names."""
    path = FILES[module]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            base = ".".join(package[: len(package) - node.level + 1] if node.level else [])
            name = ".".join(part for part in (base, node.module or "") if part)
            submodules = {f"{name}.{alias.name}" for alias in node.names} & FILES.keys()
            # ``from dlcodec import container`` imports dlcodec.container; the package itself is no room.
            found |= submodules or {name}
    return found


def _rooms(module: str) -> set[str]:
    ours = (name for name in imported_modules(module) if name.split(".")[0] == "dlcodec" and name != "dlcodec")
    return {_room(name) for name in ours}


def test_the_reader_of_imports_sees_what_it_must() -> None:
    assert {"dlcodec.checkpoint", "dlcodec.codecs.base", "torch"} <= imported_modules("dlcodec.pipeline")
    assert "targeting" in _rooms("dlcodec.cli.encoding")  # inside a command only


@pytest.mark.parametrize("module", [name for name in FILES if _room(name) in ARROWS])
def test_a_module_imports_only_along_the_arrows(module: str) -> None:
    assert _rooms(module) <= ARROWS[_room(module)]


@pytest.mark.parametrize("room", ARROWS)
def test_every_arrow_is_taken(room: str) -> None:
    assert ARROWS[room] <= {target for name in FILES if _room(name) == room for target in _rooms(name)}


def test_every_room_has_a_rule() -> None:
    assert {_room(name) for name in FILES} - ARROWS.keys() <= {"cli"}


@pytest.mark.parametrize("module", FILES)
def test_nobody_imports_training_importing_evaluation_or_the_command_line(module: str) -> None:
    """But the commands that are them, and the peers of bench, which need the way back to CompressAI.

    Importing shares the export of training, not what trains.
    """
    room = _room(module)
    leaves = {
        "dlcodec.cli.training": "training",
        "dlcodec.cli.models": "importing",
        "dlcodec.bench.peers": "importing",
    }
    allowed = {room, leaves.get(module, room)} | {"__main__": {"cli"}, "cli": {"evaluation"}}.get(room, set())
    if room == "importing":
        assert {name for name in imported_modules(module) if name.startswith("dlcodec.training")} <= {
            "dlcodec.training.export"
        }
        allowed.add("training")
    assert _rooms(module) & {"training", "importing", "evaluation", "cli"} <= allowed


@pytest.mark.parametrize("module", [n for n in FILES if _room(n) == "cli"] + ["dlcodec.evaluation.commands"])
def test_the_command_line_imports_only_errors_and_the_console_before_a_command_runs(module: str) -> None:
    tree = ast.parse(FILES[module].read_text())
    names = {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
    ours = {name for name in names if name.startswith("dlcodec") and not name.startswith("dlcodec.cli.")}
    assert ours <= {"dlcodec", "dlcodec.arguments", "dlcodec.console", "dlcodec.errors"}
    plain = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert not (names | plain) & {"torch", "numpy", "PIL", "safetensors"}


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("constriction", ("dlcodec.entropy.coder",)),
        ("compressai", ("dlcodec.training", "dlcodec.importing", "dlcodec.evaluation")),
        ("matplotlib", ("dlcodec.evaluation.plots",)),
        ("bjontegaard", ("dlcodec.evaluation.curves",)),
        ("pillow_jxl", ("dlcodec.evaluation.peers", "dlcodec.bench.peers")),
        ("torch_fidelity", ("dlcodec.evaluation.patch_fid",)),
    ],
)
def test_a_library_is_known_only_at_home(library: str, homes: tuple[str, ...]) -> None:
    users = {name for name in FILES if any(used.split(".")[0] == library for used in imported_modules(name))}
    assert users
    assert not {name for name in users if not any(name == home or name.startswith(f"{home}.") for home in homes)}


@pytest.mark.parametrize(
    "module", ["dlcodec.errors", "dlcodec.console", "dlcodec.limits", "dlcodec.files", "dlcodec.container"]
)
def test_the_unpacking_of_a_file_needs_the_standard_library_only(module: str) -> None:
    assert not {name.split(".")[0] for name in imported_modules(module)} & {"numpy", "torch", "PIL", "safetensors"}


_UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "dill", "marshal", "shelve", "joblib", "runpy", "cloudpickle"}
_NETWORK_MODULES = {"socket", "ssl", "urllib", "http", "ftplib", "requests", "httpx", "aiohttp"}


@pytest.mark.parametrize("module", [name for name in FILES if _room(name) != "importing"])
def test_nothing_but_an_import_uses_a_network_or_pickle_module_itself(module: str) -> None:
    """`importing` alone does (below). The libraries of metrics may download their own weights (docs/evaluation.md)."""
    assert not {name.split(".")[0] for name in imported_modules(module)} & (_UNSAFE_MODULES | _NETWORK_MODULES)
    tree = ast.parse(FILES[module].read_text())
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "torch.load" not in names
    assert "allow_pickle" not in {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}


INFERENCE = [name for name in FILES if _room(name) not in ("training", "importing", "evaluation")]


@pytest.mark.parametrize("module", INFERENCE)
def test_nothing_is_executed_because_a_file_says_so(module: str) -> None:
    assert not {name.split(".")[0] for name in imported_modules(module)} & _UNSAFE_MODULES
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Name):
            assert node.id not in {"eval", "exec", "compile", "__import__", "pickle"}
            assert node.id != "import_module" or module == "dlcodec.codecs"
        elif isinstance(node, ast.Attribute):
            assert node.attr not in {"__import__", "import_module", "allow_pickle"}
            assert not (node.attr == "load" and isinstance(node.value, ast.Name) and node.value.id == "torch")
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            assert not (node.module == "torch" and "load" in names)
            assert "import_module" not in names or module == "dlcodec.codecs"
        elif isinstance(node, ast.keyword):
            assert node.arg != "allow_pickle"


@pytest.mark.parametrize("module", [name for name in FILES if _room(name) == "importing"])
def test_foreign_checkpoints_are_loaded_by_torch_as_weights_alone(module: str) -> None:
    """The one package that may call torch.load does so once, with ``weights_only=True``, and unpickles nothing."""
    names = {name.split(".")[0] for name in imported_modules(module)}
    assert not names & _UNSAFE_MODULES
    tree = ast.parse(FILES[module].read_text())
    assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {"eval", "exec", "__import__"}
    loads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func) == "torch.load"
    ]
    assert len(loads) == (module == "dlcodec.importing.source")
    for call in loads:
        (given,) = (keyword.value for keyword in call.keywords if keyword.arg == "weights_only")
        assert isinstance(given, ast.Constant)
        assert given.value is True
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "torch":
            assert "load" not in {alias.name for alias in node.names}
        assert not (isinstance(node, ast.Attribute) and node.attr in {"load_state_dict_from_url", "allow_pickle"})
