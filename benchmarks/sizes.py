"""How large the house is: lines a file and the longest functions; ``python -m benchmarks.sizes``."""

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print files by length, then functions by length."""
    files = sorted(path for top in ("sllm_core", "sllm_ui") for path in (ROOT / top).rglob("*.py"))
    lengths, functions = {}, []
    for path in [ROOT / "sllm.py", *files]:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix()
        lengths[name] = len(text.splitlines())
        functions += [
            ((node.end_lineno or 0) - node.lineno + 1, f"{name}: {node.name}")
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef)
        ]
    for name, n_lines in sorted(lengths.items(), key=lambda item: -item[1]):
        print(f"{n_lines:6} {name}")
    sizes = sorted(n_lines for n_lines, _ in functions)
    print(f"\n{len(lengths)} files, {sum(lengths.values())} lines, median file", end=" ")
    print(f"{statistics.median(lengths.values()):.0f}; {len(sizes)} functions, median", end=" ")
    print(f"{statistics.median(sizes):.0f}, p90 {sizes[len(sizes) * 9 // 10]}; longest:")
    for n_lines, name in sorted(functions, reverse=True)[:12]:
        print(f"{n_lines:6} {name}")


if __name__ == "__main__":
    main()
