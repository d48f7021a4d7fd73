"""What README and help say is true: tree, presets, commands, files, codes, the Python lines."""

import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from sllm_core import cli, config, errors, estimate, fmt, presets
from sllm_core.config import FIELD_SECTION, ModelConfig, ProjectConfig
from sllm_core.model import GPT

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HELP = (ROOT / "help" / "troubleshooting.md").read_text(encoding="utf-8")


def tree_rows() -> dict[str, str]:
    """Path -> gloss of the README's last tree (two spaces a level, folders end with a slash)."""
    block = README.split("## Where things are")[1].split("```")[1]
    rows, folders = {}, []
    for line in filter(None, block.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, gloss = line.strip().partition("  ")
        path = "".join(folders[:depth]) + name
        if name.endswith("/"):
            folders[depth:] = [name]
        rows[path] = gloss.strip()
    return rows


def test_the_tree_names_every_module_and_nothing_else_and_says_what_each_is_for():
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for top in ("sllm_core", "sllm_ui")
        for path in (ROOT / top).rglob("*.py")
        if path.name != "__init__.py"
    } | {path.name for path in ROOT.glob("*.py")}
    rows = tree_rows()
    assert {path for path in rows if path.endswith(".py")} == on_disk
    assert all(rows.values()), [path for path, gloss in rows.items() if not gloss]
    assert all((ROOT / path).exists() for path in rows)


@pytest.mark.parametrize("preset", presets.PRESETS, ids=lambda preset: preset.slug)
def test_the_preset_table_has_the_computed_numbers(preset):
    row = next(line for line in README.splitlines() if line.startswith(f"| `{preset.slug}` "))
    assert row == preset_row(preset)


def preset_row(preset: presets.Preset) -> str:
    config = presets.apply(ProjectConfig(), preset)
    model = replace(config.model, vocab_size=config.tokenizer.target_vocab_size)
    memory = estimate.estimate_memory(
        model, 1, config.train.seq_len, train=config.train, is_half=True
    )
    return (
        f"| `{preset.slug}` | {fmt.count(estimate.count_parameters(model).total)} "
        f"| {fmt.size(memory.total)} | {fmt.size(estimate.checkpoint_bytes(model, 'muon'))} "
        f"| {preset.purpose or preset.group} |"
    )


def test_the_commands_named_are_the_commands_there_are():
    named = re.search(r"Commands: (.*?);", README)
    assert set(re.findall(r"`([a-z-]+)`", named.group(1))) == set(cli.COMMANDS)


@pytest.mark.parametrize("line", re.findall(r"python3 sllm\.py ([a-z].*?)[`\n]", README + HELP))
def test_every_command_line_shown_is_one_the_program_understands(line):
    words = re.findall(r'"[^"]*"|\S+', line)
    cli.build_parser().parse_args([word.strip('"') for word in words])


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## (\S+) - ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert config.VERSION == project["version"] == newest.group(1)


def test_every_file_linked_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_page_of_settings_is_made_from_the_fields():
    assert (ROOT / "help" / "settings.md").read_text(encoding="utf-8") == config.settings_page()


def test_every_setting_named_exists():
    text = README + HELP + (ROOT / "help" / "glossary.md").read_text(encoding="utf-8")
    assert set(re.findall(r"--set ([a-z_]+)=", text)) <= FIELD_SECTION.keys() | {"key"}


def test_the_help_explains_every_code_and_no_other():
    anchors = set(re.findall(r"^### (E-[A-Z-]+)$", HELP, flags=re.MULTILINE))
    setup = (ROOT / "sllm_core" / "bootstrap.py").read_text(encoding="utf-8")
    reasons = set(re.findall(r'SetupError\(\s*"([A-Z]+)"', setup))
    told = {anchor for anchor in anchors if anchor.startswith("E-SETUP-")}
    assert anchors - told == set(errors.CODES)
    assert {f"E-SETUP-{reason}" for reason in reasons} <= told


def test_nothing_shown_advises_to_switch_a_protection_off():
    texts = [README, HELP, *(path.read_text(encoding="utf-8") for path in ROOT.glob("help/*.md"))]
    for word in ("weights_only=False", "trust_remote_code=True"):
        assert not any(word in text for text in texts)


def test_the_python_lines_load_a_checkpoint(tmp_path):
    import dataclasses

    import torch

    config = ModelConfig(d_model=16, n_layers=1, n_heads=2, vocab_size=300, max_seq_len=8)
    model = GPT(config)
    folder = tmp_path / "my_project" / "checkpoints"
    folder.mkdir(parents=True)
    content = {"config": dataclasses.asdict(model.config), "model_state_dict": model.state_dict()}
    torch.save(content, folder / "best_model.pt")
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL).group(1)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    (ROOT / "help" / "settings.md").write_text(config.settings_page(), encoding="utf-8")
