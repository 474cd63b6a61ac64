"""The objects of a fake API server: server-side apply with field managers, and watches."""

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
        self._changed = threading.Condition(self.lock)
        self._events: list[tuple[int, Key, str, dict[str, Any]]] = []
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
        """What a controller writes: the object as it is, but for its status."""
        with self.lock:
            status = self._live.get(key, {}).get("status")
            kept = {"status": status} if status and "status" not in value else {}
            self._store(key, {**copy.deepcopy(value), **kept})

    def set_status(self, key: Key, status: dict[str, Any]) -> None:
        with self.lock:
            self._store(key, {**self._live[key], "status": copy.deepcopy(status)})

    def delete(self, key: Key) -> None:
        with self.lock:
            if (value := self._live.pop(key, None)) is not None:
                self._version += 1
                self._announce(key, "DELETED", value)

    def clear(self) -> None:
        """Forgets all but how many versions there were."""
        with self.lock:
            self._live.clear()
            self._applied.clear()
            self._events.clear()

    def events_after(
        self, version: int, resource: str, namespace: str, name: str, seconds: float
    ) -> list[tuple[int, str, dict[str, Any]]]:
        """Waits for changes of one object after a version; empty when none came in time."""

        def found() -> list[tuple[int, str, dict[str, Any]]]:
            return [
                (number, kind, value)
                for number, key, kind, value in self._events
                if number > version and key == (resource, namespace, name)
            ]

        with self._changed:
            self._changed.wait_for(found, timeout=seconds)
            return found()

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
            merged["metadata"]["managedFields"] = [
                {"manager": name, "operation": "Apply", "fieldsV1": _fields(value)}
                for name, value in self._applied[key].items()
            ]
            self._store(key, merged)
            return copy.deepcopy(self._live[key])

    def _store(self, key: Key, value: dict[str, Any]) -> None:
        """Keeps an object under a new version; one that is what it was stays as it is."""
        before = self._live.get(key)
        if before is not None and _without_version(before) == _without_version(value):
            return
        self._version += 1
        generation = before["metadata"]["generation"] if before else 0
        if before is None or before.get("spec") != value.get("spec"):
            generation += 1
        stamp = {"generation": generation, "resourceVersion": str(self._version)}
        self._live[key] = {**value, "metadata": {**value["metadata"], **stamp}}
        self._announce(key, "MODIFIED" if before else "ADDED", self._live[key])

    def _announce(self, key: Key, kind: str, value: dict[str, Any]) -> None:
        self._events.append((self._version, key, kind, copy.deepcopy(value)))
        self._changed.notify_all()


def _without_version(value: dict[str, Any]) -> dict[str, Any]:
    metadata = value["metadata"].items()
    stamped = ("generation", "resourceVersion")
    return {**value, "metadata": {key: item for key, item in metadata if key not in stamped}}


def _fields(value: dict[str, Any]) -> dict[str, Any]:
    """Writes the names of fields as Kubernetes' fieldsV1 does."""
    return {f"f:{k}": _fields(v) if isinstance(v, dict) else {} for k, v in value.items()}


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
