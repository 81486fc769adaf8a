"""Counts what docs/architecture.md states of the package's layout: `python tests/shared/layout.py` prints the table."""

import ast
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2] / "mcprune"
# Past participles that stood for nouns in the first version; as whole identifiers or parts of one (`found`, `as_found`).
DIALECT = ("found", "told", "met", "said", "wanted", "given", "made", "held")
FOREIGN = ("connection_made",)  # not ours to name: a callback of asyncio.Protocol
# Names that the first version used for what the field has a word for; whole identifiers.
OLD_NAMES = (
    "Keeper", "Desk", "Orders", "Lessons", "Warp", "Joint", "Ahead", "Trials", "Wall", "Around", "AroundItems", "SharedSteps", "Case",
    "SmallModel", "began_anew", "told_in", "searched_and_concluded", "rescued", "all_told", "is_asked", "perturb", "jitter", "judge_on",
    "judge_share", "speculate", "hard_floor", "circumstances",
)  # fmt: skip
LONG, FULL = 350, 16
# A name is the group; what goes before it are strings, comments and numbers, whose letters are none.
_NAMES = re.compile(
    r"""(?:[rRbBfFuU]{1,2})?(?:"{3}(?:[^\\]|\\.)*?"{3}|'{3}(?:[^\\]|\\.)*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|\#[^\n]*|(?<![\w.])\d[\w.]*|([^\W\d]\w*)""",
    re.DOTALL,
)


class Layout(NamedTuple):
    """What is counted.

    Attributes
    ----------
    packages : dict of str to (files, lines)
    depths : dict of str to int
        Longest chain of imports inside each package, in files.
    cycles : list of list of str
        Modules of one package that import each other in a ring, imports for type checking included.
    long_files : dict of str to int
        Files of more than `LONG` lines, kernels excepted.
    config_readers : list of str
        Files that read an option of the run's configuration.
    or_default : int
        `config.x or default`.
    any_count : int
        Uses of `Any`, imports not counted.
    method_tests : int
        `isinstance(method` and `getattr(method`.
    dialect : Counter
        Identifiers that are or hold a word of `DIALECT`.
    old_names : Counter
    """

    packages: dict[str, tuple[int, int]]
    depths: dict[str, int]
    cycles: list[list[str]]
    long_files: dict[str, int]
    config_readers: list[str]
    or_default: int
    any_count: int
    method_tests: int
    dialect: Counter
    old_names: Counter


def count() -> Layout:
    """Read every module of the package."""
    files = sorted(ROOT.rglob("*.py"))
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    names = {path: _names(text) for path, text in texts.items()}
    packages: dict[str, tuple[int, int]] = {}
    for path, text in texts.items():
        number, lines = packages.get(_package(path), (0, 0))
        packages[_package(path)] = number + 1, lines + text.count("\n")
    modules = {path: _module(path) for path in files}
    graph = {modules[path]: _imports(text, set(modules.values())) for path, text in texts.items()}
    inside = {
        module: {other for other in imported if other.rpartition(".")[0] == module.rpartition(".")[0]}
        for module, imported in graph.items()
    }
    cycles = [ring for ring in _components(inside) if len(ring) > 1]
    in_cycle = {module for ring in cycles for module in ring}
    depths: dict[str, int] = {}
    for module in inside:
        if module not in in_cycle:
            package = module.rpartition(".")[0]
            depths[package] = max(depths.get(package, 0), _depth(module, inside, in_cycle))
    reads = re.compile(r"\bconfig\.(?!toml\b)(?:[a-z_]+\.)?[a-z_]+\b(?! import)(?!\()")
    everything = "\n".join(texts.values())
    counted = Counter(name for each in names.values() for name in each)
    return Layout(
        packages,
        depths,
        cycles,
        {
            _short(path): text.count("\n")
            for path, text in texts.items()
            if text.count("\n") > LONG and "kernels" not in path.name
        },
        [_short(path) for path, text in texts.items() if _reads_config(text, reads) and "config" not in path.parts],
        len(re.findall(r"\bconfig\.[a-z_.]+ or [^:]", everything)),
        sum(each.count("Any") for each in names.values()) - len(re.findall(r"import .*\bAny\b", everything)),
        len(re.findall(r"(?:isinstance|getattr)\((?:self\.|search\.)?method\b", everything)),
        Counter(
            {
                name: number
                for name, number in counted.items()
                if set(name.strip("_").lower().split("_")) & set(DIALECT) and name not in FOREIGN
            }
        ),
        Counter({name: number for name, number in counted.items() if name in OLD_NAMES}),
    )


def table(layout: Layout) -> list[str]:
    """Return the Markdown lines of the table in docs/architecture.md."""
    lines = ["| package | files | lines | floors |", "|---|---|---|---|"]
    for package, (files, length) in sorted(layout.packages.items()):
        lines.append(f"| {package or 'mcprune'} | {files} | {length:,} | {layout.depths.get(_dotted(package), 1)} |")
    total = sum(length for _, length in layout.packages.values())
    lines += [
        f"| all | {sum(files for files, _ in layout.packages.values())} | {total:,} | |",
        "",
        "| counted | wanted | is |",
        "|---|---|---|",
        f"| packages above {FULL} files | 0 | {sum(files > FULL for files, _ in layout.packages.values())} |",
        f"| deepest package, floors | 7 | {max(layout.depths.values())} |",
        f"| import cycles inside a package | 0 | {len(layout.cycles)} |",
        f"| files above {LONG} lines, kernels excepted | 0 | {len(layout.long_files)} |",
        f"| files outside config/ that read the configuration | below 10 | {len(layout.config_readers)} |",
        f"| `config.x or default` | 0 | {layout.or_default} |",
        f"| `Any` | below 200 | {layout.any_count} |",
        f"| `isinstance(method`, `getattr(method` | 0 | {layout.method_tests} |",
        f"| identifiers with one of {', '.join(DIALECT)} | 0 | {layout.dialect.total()} |",
        f"| names of the first version | 0 | {layout.old_names.total()} |",
    ]
    return lines


def _names(text: str) -> list[str]:
    """Return the names in a source file, as `tokenize` finds them, which takes six times as long."""
    return [name for name in _NAMES.findall(text) if name]


def _reads_config(text: str, reads: re.Pattern[str]) -> bool:
    code = re.sub(r'"""(?s:.*?)"""', "", text)
    return any(
        reads.search(line)
        for line in code.splitlines()
        if not line.lstrip().startswith(("from ", "import ", "#")) and "mcprune.config" not in line
    )


def _package(path: Path) -> str:
    return path.parent.relative_to(ROOT).as_posix().removeprefix(".")


def _dotted(package: str) -> str:
    return ".".join(["mcprune", *filter(None, package.split("/"))])


def _short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(text: str, modules: set[str]) -> set[str]:
    """Return the modules of the package that a module imports anywhere, also inside functions and for type checking."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return imported & modules


def _components(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while not component or component[-1] != node:
                component.append(stack.pop())
            components.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return components


def _depth(module: str, graph: dict[str, set[str]], skipped: set[str]) -> int:
    below = graph[module] - skipped - {module}
    package = module.rpartition(".")[0]
    return 1 + max((_depth(other, graph, skipped) for other in below if other != package), default=0)


def write(lines: list[str]) -> None:
    """Put the table into docs/architecture.md."""
    page = ROOT.parent / "docs" / "architecture.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- layout -->\n")
    after = rest.partition("<!-- /layout -->")[2]
    page.write_text(before + "<!-- layout -->\n" + "\n".join(lines) + "\n<!-- /layout -->" + after, encoding="utf-8")


if __name__ == "__main__":
    counts = count()
    print("\n".join(table(counts)))
    if "--write" in sys.argv:
        write(table(counts))
    if "-v" in sys.argv:
        for title, content in counts._asdict().items():
            if title in ("cycles", "long_files", "config_readers", "dialect", "old_names"):
                print(f"\n{title}: {content}")
