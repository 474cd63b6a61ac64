"""The objects of a fake API server: server-side apply with field managers, as Kubernetes has it."""

import copy
import threading
from typing import Any

Key = tuple[str, str, str]  # resource, namespace, name


class ConflictError(Exception):
    """Another manager holds a field with another value."""


class Objects:
    """Live objects, and what each manager applied; safe for threads."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._live: dict[Key, dict[str, Any]] = {}
        self._applied: dict[Key, dict[str, dict[str, Any]]] = {}
        self._version = 0

    def get(self, key: Key) -> dict[str, Any] | None:
        with self.lock:
            return copy.deepcopy(self._live.get(key))

    def all(self, resource: str) -> list[tuple[Key, dict[str, Any]]]:
        with self.lock:
            return [(k, copy.deepcopy(v)) for k, v in self._live.items() if k[0] == resource]

    def put(self, key: Key, value: dict[str, Any]) -> None:
        """What a controller writes: the object as it is."""
        with self.lock:
            self._live[key] = self._stamped(key, copy.deepcopy(value))

    def set_status(self, key: Key, status: dict[str, Any]) -> None:
        with self.lock:
            self._live[key]["status"] = copy.deepcopy(status)

    def preview(self, key: Key, manager: str, config: dict[str, Any], force: bool):
        """Returns the managers' configurations and the object that an apply would give."""
        applied = copy.deepcopy(self._applied.get(key, {}))
        for other, theirs in applied.items():
            if other != manager:
                conflicts = list(_conflicts(config, theirs, ""))
                if conflicts and not force:
                    raise ConflictError(f"conflict with {other}: {', '.join(conflicts)}")
                _yield_fields(config, theirs)
        applied[manager] = copy.deepcopy(config)
        merged: dict[str, Any] = {}
        for value in applied.values():
            _merge(merged, value)
        return applied, merged

    def apply(self, key: Key, manager: str, config: dict[str, Any], force: bool) -> dict[str, Any]:
        with self.lock:
            self._applied[key], merged = self.preview(key, manager, config, force)
            if key in self._live:
                merged["status"] = self._live[key].get("status", {})
            self._live[key] = self._stamped(key, merged)
            return copy.deepcopy(self._live[key])

    def _stamped(self, key: Key, value: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        before = self._live.get(key)
        generation = before["metadata"]["generation"] if before else 0
        if before is None or before.get("spec") != value.get("spec"):
            generation += 1
        value["metadata"].update(generation=generation, resourceVersion=str(self._version))
        return value


def _conflicts(ours: Any, theirs: Any, path: str):
    for key, value in ours.items():
        if key not in theirs:
            continue
        if isinstance(value, dict) and isinstance(theirs[key], dict):
            yield from _conflicts(value, theirs[key], f"{path}.{key}")
        elif value != theirs[key]:
            yield f"{path}.{key}"


def _yield_fields(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Takes from the other manager the fields that were taken over by force."""
    for key, value in ours.items():
        if key not in theirs:
            continue
        if isinstance(value, dict) and isinstance(theirs[key], dict):
            _yield_fields(value, theirs[key])
        elif value != theirs[key]:
            del theirs[key]


def _merge(target: dict[str, Any], source: dict[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)
