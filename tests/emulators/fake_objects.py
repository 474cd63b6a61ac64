"""The objects of a fake API server: server-side apply, field owners, watches.

Owners are kept as the API server keeps them: for each manager and operation the set of fields that
it has set. An apply takes back the fields that its manager no longer names, unless another manager
owns them too; it fails where another manager owns a field with another value. Lists are atomic.
Read in kubernetes-sigs/structured-merge-diff 6.3 and seen on Kubernetes 1.34.
"""

import copy
import threading
from datetime import UTC, datetime
from typing import Any

Key = tuple[str, str, str]  # resource, namespace, name
Path = tuple[str, ...]
Owner = tuple[str, str]  # manager, operation
_UNOWNED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
_STAMPS = ("generation", "resourceVersion", "managedFields")


class ConflictError(Exception):
    """Other managers own fields with other values."""


class Objects:
    """Live objects and the owners of their fields; thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._events: list[tuple[int, Key, str, dict[str, Any]]] = []
        self._live: dict[Key, dict[str, Any]] = {}
        self._owners: dict[Key, dict[Owner, set[Path]]] = {}
        self._times: dict[Key, dict[Owner, str]] = {}
        self._version = 0

    @property
    def version(self) -> int:
        """The version of the newest change."""
        return self._version

    def get(self, key: Key) -> dict[str, Any] | None:
        with self.lock:
            return copy.deepcopy(self._live.get(key))

    def all(self, resource: str) -> list[tuple[Key, dict[str, Any]]]:
        with self.lock:
            return [(k, copy.deepcopy(v)) for k, v in self._live.items() if k[0] == resource]

    def put(self, key: Key, value: dict[str, Any]) -> None:
        """Write an object as a controller does; its status stays unless the value has one."""
        with self.lock:
            status = self._live.get(key, {}).get("status")
            kept = {"status": status} if status and "status" not in value else {}
            self._store(key, {**copy.deepcopy(value), **kept}, self._owners.get(key, {}))

    def set_status(self, key: Key, status: dict[str, Any]) -> None:
        with self.lock:
            value = {**self._live[key], "status": copy.deepcopy(status)}
            self._store(key, value, self._owners.get(key, {}))

    def delete(self, key: Key) -> None:
        with self.lock:
            self._owners.pop(key, None)
            self._times.pop(key, None)
            if (value := self._live.pop(key, None)) is not None:
                self._version += 1
                self._announce(key, "DELETED", value)

    def clear(self) -> None:
        """Forget everything but the number of versions."""
        with self.lock:
            self._live.clear()
            self._owners.clear()
            self._times.clear()
            self._events.clear()

    def events_after(
        self, version: int, resource: str, namespace: str, name: str, seconds: float
    ) -> list[tuple[int, str, dict[str, Any]]]:
        """Wait for changes after a version, of one object, or without a name of all.

        Empty if none came in time.
        """

        def found() -> list[tuple[int, str, dict[str, Any]]]:
            return [
                (number, kind, value)
                for number, key, kind, value in self._events
                if number > version and key[:2] == (resource, namespace) and name in ("", key[2])
            ]

        with self._changed:
            self._changed.wait_for(found, timeout=seconds)
            return found()

    def preview(self, key: Key, manager: str, config: dict[str, Any], force: bool):
        """Return the object and the owners that an apply would leave behind."""
        live = self.get(key) or {}
        owners = copy.deepcopy(self._owners.get(key, {}))
        ours = (manager, "Apply")
        fields = _leaves(config)
        conflicts = []
        for owner, theirs in owners.items():
            if owner == ours:
                continue
            taken = {
                path
                for path in theirs
                for field in fields
                if _overlap(path, field) and _value(live, field) != _value(config, field)
            }
            if taken and not force:
                conflicts.append((owner[0], sorted(taken)))
            theirs -= taken
        if conflicts:
            raise ConflictError(_said(conflicts))
        for path in owners.get(ours, set()) - fields:
            if not any(path in theirs for owner, theirs in owners.items() if owner != ours):
                _remove(live, path)
        _merge(live, config)
        owners[ours] = fields
        return live, owners

    def apply(self, key: Key, manager: str, config: dict[str, Any], force: bool) -> dict[str, Any]:
        with self.lock:
            merged, owners = self.preview(key, manager, config, force)
            self._store(key, merged, owners, (manager, "Apply"))
            return copy.deepcopy(self._live[key])

    def update(self, key: Key, manager: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Make a JSON merge patch, as `kubectl patch` and `kubectl label` do."""
        with self.lock:
            live = copy.deepcopy(self._live[key])
            owners = copy.deepcopy(self._owners.get(key, {}))
            listed = changes.get("metadata", {}).pop("managedFields", None)
            if listed is not None:
                kept = {(entry["manager"], entry["operation"]) for entry in listed if entry}
                owners = {owner: fields for owner, fields in owners.items() if owner in kept}
            before = copy.deepcopy(live)
            _merge(live, changes)
            changed = {f for f in _leaves(changes) if _value(before, f) != _value(live, f)}
            for theirs in owners.values():
                theirs -= {path for path in theirs for field in changed if _overlap(path, field)}
            if changed:
                owners.setdefault((manager, "Update"), set()).update(changed)
            self._store(key, live, owners, (manager, "Update"))
            return copy.deepcopy(self._live[key])

    def _store(
        self,
        key: Key,
        value: dict[str, Any],
        owners: dict[Owner, set[Path]],
        writer: Owner | None = None,
    ) -> None:
        """Keep an object under a new version, unless nothing of it has changed."""
        before = self._live.get(key)
        owners = {owner: fields for owner, fields in owners.items() if fields}
        same_owners = owners == self._owners.get(key, {})
        if before is not None and same_owners and _unstamped(before) == _unstamped(value):
            return
        self._version += 1
        generation = before["metadata"]["generation"] if before else 0
        if before is None or before.get("spec") != value.get("spec"):
            generation += 1
        times = self._times.setdefault(key, {})
        if writer is not None:
            times[writer] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        stamps = {
            "generation": generation,
            "resourceVersion": str(self._version),
            "managedFields": [
                {
                    "manager": manager,
                    "operation": operation,
                    "time": times.get((manager, operation)),
                    "fieldsType": "FieldsV1",
                    "fieldsV1": _tree(fields),
                }
                for (manager, operation), fields in owners.items()
            ],
        }
        self._owners[key] = owners
        self._live[key] = {**value, "metadata": {**value["metadata"], **stamps}}
        self._announce(key, "MODIFIED" if before else "ADDED", self._live[key])

    def _announce(self, key: Key, kind: str, value: dict[str, Any]) -> None:
        self._events.append((self._version, key, kind, copy.deepcopy(value)))
        self._changed.notify_all()


def _unstamped(value: dict[str, Any]) -> dict[str, Any]:
    metadata = value["metadata"].items()
    return {**value, "metadata": {key: item for key, item in metadata if key not in _STAMPS}}


def _leaves(value: dict[str, Any], above: Path = ()) -> set[Path]:
    found: set[Path] = set()
    for key, item in value.items():
        path = (*above, key)
        if isinstance(item, dict) and item:
            found |= _leaves(item, path)
        elif path not in _UNOWNED:
            found.add(path)
    return found


def _overlap(first: Path, second: Path) -> bool:
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]


def _value(value: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def _remove(value: dict[str, Any], path: Path) -> None:
    """Remove a field, and the objects that are empty without it."""
    *above, last = path
    parent = _value(value, tuple(above))
    if isinstance(parent, dict):
        parent.pop(last, None)
        if not parent and above:
            _remove(value, tuple(above))


def _tree(fields: set[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in fields:
        node = tree
        for key in path:
            node = node.setdefault(f"f:{key}", {})
    return tree


def _said(conflicts: list[tuple[str, list[Path]]]) -> str:
    """Word conflicts as the API server does."""
    fields = [(manager, "." + ".".join(path)) for manager, paths in conflicts for path in paths]
    plural = "s" if len(fields) > 1 else ""
    named = ", ".join(f"conflict with {manager}: {field}" for manager, field in fields)
    return f"Apply failed with {len(fields)} conflict{plural}: {named}"


def _merge(target: dict[str, Any], source: dict[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = copy.deepcopy(value)
