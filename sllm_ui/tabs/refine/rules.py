"""The rules of the score as rows of a table."""

from typing import Any

from sllm_core.corpus import rules as core

SETS = ("code", "prose", "data")


def rule_rows() -> list[tuple[Any, ...]]:
    """(rule, limit, what it counts for, where it comes from), in the order of the table."""
    return [
        (
            rule.title,
            _limit(rule),
            "all files" if len(rule.sets) == len(SETS) else ", ".join(sorted(rule.sets)),
            rule.source or "this program",
        )
        for rule in getattr(core, "RULES", ())
    ]


def _limit(rule: core.Rule) -> str:
    if rule.family == "origin" and not rule.limit:
        return "if so"
    word = "over" if rule.side == "above" else "under"
    return f"{word} {rule.limit:,.4g}"
