"""Which room may import what, read from the syntax trees; every public name is documented, every file is short."""

import ast
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
KERNELS = sorted((REPOSITORY / "kernels").rglob("*.py"))
DROPSIM = sorted((REPOSITORY / "dropsim").rglob("*.py"))

# The modules that look into a Config. Everything past `build` and `composition` gets arrays and numbers.
READERS_OF_CONFIG = {
    "config", "config_load", "config_rules", "config_schema", "check", "check_scales", "composition", "build",
    "run", "run_folder", "study", "report", "droplet_tier", "cli", "splitting", "start", "tune",
    "single_molecule_tier", "report_conditions",
}  # fmt: skip
# Reads the resolved configuration of a trajectory as plain values, never the class.
READERS_OF_STORED_VALUES = {"analysis"}


def name_of(path: Path) -> str:
    """Dotted name of a module, without the package."""
    root = REPOSITORY / ("kernels/dropsim_kernels" if path in KERNELS else "dropsim")
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports at run time anywhere in it, functions included."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(str(node.module))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def packages(path: Path) -> set[str]:
    """Top-level packages that a module imports, without the standard library."""
    return {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)


def test_there_is_something_to_test():
    assert len(KERNELS) > 8
    assert len(DROPSIM) > 30
    assert {"numpy", "jax"} <= packages(REPOSITORY / "dropsim" / "build.py")


@pytest.mark.parametrize("path", KERNELS, ids=name_of)
def test_kernels_import_jax_numpy_and_each_other(path):
    assert packages(path) <= {"jax", "numpy", "dropsim_kernels"}


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("h5py", lambda name: name == "trajectory"),
        ("matplotlib", lambda name: name.startswith("plots")),
        ("pydantic", lambda name: name.startswith("config")),
        ("typer", lambda name: name == "cli"),
        ("diffrax", lambda name: name.startswith("kinetics")),
        ("gsd", lambda name: name == "export"),
        ("MDAnalysis", lambda name: name in ("export", "structure_files")),
        ("pint", lambda name: name == "unit_strings"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_room_for_each_tool(package, allowed):
    users = {name_of(path) for path in DROPSIM if package in packages(path)}
    assert users
    assert {name for name in users if not allowed(name)} == set()


def test_observables_take_arrays():
    """They never import what makes the arrays."""
    makers = {
        "dropsim.simulate",
        "dropsim.build",
        "dropsim.system",
        "dropsim.run",
        "dropsim.config",
        "dropsim.trajectory",
    }
    for path in DROPSIM:
        if "observables" in path.parts or "kinetics" in path.parts:
            assert not imports(path) & makers, path


def test_who_reads_a_config():
    readers = {
        name_of(path)
        for path in DROPSIM
        if any(name == "dropsim.config" or name.startswith("dropsim.config.") for name in imports(path))
        or "config: Config" in path.read_text(encoding="utf-8")
    }
    assert readers <= READERS_OF_CONFIG
    # What simulates gets arrays.
    assert not readers & {"system", "forces", "simulate", "event_log", "trajectory", "checkpoint", "compare"}
    stored = {name_of(path) for path in DROPSIM if "trajectory.config" in path.read_text(encoding="utf-8")}
    assert stored <= READERS_OF_STORED_VALUES


def test_the_shell_starts_without_jax():
    """What `--help` and `check` import stays free of the slow packages at module level."""
    for name in ("cli", "config", "config_load", "config_rules", "composition", "check", "study", "run_folder"):
        tree = ast.parse((REPOSITORY / "dropsim" / f"{name}.py").read_text(encoding="utf-8"))
        top = {
            alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names
        } | {str(node.module).split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not top & {"jax", "h5py", "matplotlib", "diffrax", "dropsim_kernels"}, name


def undocumented(path: Path) -> list[str]:
    """Public functions, classes and methods of a module without a docstring, and the module itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = [] if ast.get_docstring(tree) else ["module"]
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        bases = {ast.unparse(base) for base in node.bases} if isinstance(node, ast.ClassDef) else set()
        # A section of the experiment file is described key by key, where `dropsim schema` reads it.
        if not ast.get_docstring(node) and "Section" not in bases:
            missing.append(node.name)
        # A protocol names what it needs of others, and they document it.
        if isinstance(node, ast.ClassDef) and "Protocol" not in bases:
            missing += [
                f"{node.name}.{method.name}"
                for method in node.body
                if isinstance(method, ast.FunctionDef)
                and not method.name.startswith("_")
                and not ast.get_docstring(method)
            ]
    return missing


@pytest.mark.parametrize("path", KERNELS + DROPSIM, ids=name_of)
def test_public_names_are_documented_and_files_are_short(path):
    assert undocumented(path) == []
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 1000


@pytest.mark.parametrize("path", KERNELS + DROPSIM, ids=name_of)
def test_no_swallowed_arguments_and_no_hidden_nan(path):
    """Neither nan_to_num nor **kwargs, except around a command."""
    text = path.read_text(encoding="utf-8")
    assert "nan_to_num" not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.args.kwarg:
            assert (name_of(path), node.name) == ("cli", "guarded")
