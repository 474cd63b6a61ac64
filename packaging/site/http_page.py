"""The reference of the HTTP API: the OpenAPI description that a running predictor gives."""

import json
import os
import runpy
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from pipelines.predictor.process import running_predictor

# A model that answers is needed, the smallest will do.
MODEL = Path(__file__).resolve().parents[2] / "tests" / "red_model.py"
_HEAD = """\
# HTTP API

A running predictor has the same at `/docs`, with examples to try, and at `/openapi.json`.
[Protocols](../protocols.md) says which request suits whom.
"""
_METHODS = ("get", "post")


def page() -> str:
    """Return the page in Markdown."""
    description = _asked()
    parts = [_HEAD]
    for path, operations in description["paths"].items():
        for method in _METHODS:
            if method in operations:
                parts.append(_operation(method, path, operations[method]))
    parts.append("## Errors\n\nThe body of every error:\n")
    schema = description["components"]["schemas"]["Error"]
    rows = [
        f"| `{key}` | {value.get('description', '')} |"
        for key, value in schema["properties"].items()
    ]
    return "\n".join([*parts, "| key | what it is |", "|---|---|", *rows, ""])


def _asked() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        model = runpy.run_path(str(MODEL))["write_red_model"](Path(name) / "model")
        with running_predictor("road", str(model), os.environ, Path(name) / "log") as url:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{url}/openapi.json", timeout=60) as reply:
                description: dict[str, Any] = json.load(reply)
    return description


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"## {method.upper()} {path}", ""]
    if text := operation.get("description") or operation.get("summary"):
        lines += [text, ""]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | what it is |", "|---|---|---|"]
        for item in parameters:
            lines.append(f"| `{item['name']}` | {item['in']} | {_parameter(item)} |")
        lines.append("")
    if body := operation.get("requestBody"):
        types = ", ".join(f"`{media_type}`" for media_type in body["content"])
        lines += [f"Body: {types}.", ""]
        for media in body["content"].values():
            if "example" in media:
                lines += ["```json", json.dumps(media["example"], indent=2), "```", ""]
    lines += ["| status | reply |", "|---|---|"]
    for status, reply in sorted(operation["responses"].items()):
        types = ", ".join(f"`{media_type}`" for media_type in reply.get("content", {}))
        lines.append(f"| {status} | {reply['description']}{types and f' ({types})'} |")
    return "\n".join([*lines, ""])


def _parameter(item: dict[str, Any]) -> str:
    text = str(item.get("description", ""))
    if "enum" in item.get("schema", {}):
        text += " One of " + ", ".join(f"`{value}`" for value in item["schema"]["enum"]) + "."
    if "example" in item:
        text += f" Example: `{item['example']}`."
    return text.strip()
