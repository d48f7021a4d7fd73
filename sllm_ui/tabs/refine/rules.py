"""The rules of the score as rows of a table."""

from sllm_core.corpus.rules import RULES, Rule

SETS = ("code", "prose", "data")


def rule_rows() -> list[tuple[str, str, str, str]]:
    """(rule, limit, what it counts for, where it comes from), in the order of the table."""
    return [
        (
            rule.title,
            limit_words(rule),
            "all files" if len(rule.sets) == len(SETS) else ", ".join(sorted(rule.sets)),
            rule.source or "this program",
        )
        for rule in RULES
    ]


def limit_words(rule: Rule) -> str:
    """Such as ``over 30 %``; ``if so`` for what a file is or is not."""
    if {rule.limit, rule.far} == {0, 1}:
        return "if so"
    is_share = 0 < rule.limit < 1 and ("%" in rule.words or rule.side == "below")
    amount = f"{100 * rule.limit:,.4g} %" if is_share else f"{rule.limit:,.4g}"
    return f"{'over' if rule.side == 'above' else 'under'} {amount}"
