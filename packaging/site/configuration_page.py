"""The reference of training's configuration: keys with defaults and comments, and presets."""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "components/train/conf"
# Each group, and the preset that has all of its keys.
GROUPS = {"model": "tiny", "processing": "generic", "training": "default"}
_LINE = re.compile(r"(\w+):\s*([^#]*?)\s*(?:#\s*(.*))?$")
_HEAD = """\
# Configuration of training

Give a key its value after the command (`segmentor run --export task.zip training.epochs=40`), and
choose a preset by its group (`model=fpn`). [Training](../training.md) says what each is for.
"""


def page() -> str:
    """Return the page in Markdown."""
    parts = [_HEAD, "| key | default | what it is |", "|---|---|---|"]
    parts += [row for name, default in _defaults().items() for row in [_row(name, *default)]]
    parts.append("")
    for group in GROUPS:
        parts.append(f"## Presets of {group}\n")
        for file in sorted((FOLDER / group).glob("*.yaml")):
            parts.append(_preset(group, file))
    return "\n".join(parts)


def _defaults() -> dict[str, tuple[str, str]]:
    """Return default and comment by key; a key without a value has the group below it."""
    found = {"seed": _entry((FOLDER / "config.yaml").read_text(encoding="utf-8"), "seed")}
    for group, preset in GROUPS.items():
        text = (FOLDER / group / f"{preset}.yaml").read_text(encoding="utf-8")
        for key in re.findall(r"^(\w+):", text, re.MULTILINE):
            found[f"{group}.{key}"] = _entry(text, key)
    return found


def _entry(text: str, key: str) -> tuple[str, str]:
    line = next(line for line in text.splitlines() if line.startswith(f"{key}:"))
    match = _LINE.match(line)
    assert match is not None, line
    return match[2], match[3] or ""


def _row(key: str, default: str, comment: str) -> str:
    shown = f"`{default}`" if default else "see the presets"
    return f"| `{key}` | {shown} | {comment.replace('|', 'or')} |"


def _preset(group: str, file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    return f"### {group}={file.stem}\n\n```yaml\n{text}```\n"
