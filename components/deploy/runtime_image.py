"""Puts a container image into the ServingRuntime, and its earlier one back."""

from dataclasses import dataclass
from typing import Any

from components.deploy.cluster import FIELD_MANAGER, Cluster, object_path
from components.deploy.diagnosis import CONTAINER
from components.deploy.inference_service import render_serving_runtime


@dataclass(frozen=True)
class ImageChange:
    """The ServingRuntime to apply, and the one that undoes it; None when there was none."""

    wanted: dict[str, Any]
    earlier: dict[str, Any] | None

    @property
    def old_image(self) -> str:
        """The image that `make` takes away; '' when it takes none away."""
        return _image(self.earlier) if _image(self.earlier) != _image(self.wanted) else ""

    @property
    def new_image(self) -> str:
        """The image that `undo` takes away; '' when it takes none away."""
        return _image(self.wanted) if self.old_image else ""

    def make(self, cluster: Cluster) -> None:
        """Applies what is wanted."""
        if self.wanted != self.earlier:
            cluster.apply(self.wanted)

    def undo(self, cluster: Cluster) -> None:
        """Restores what was there before, unless somebody has changed the image meanwhile."""
        if self.earlier is None or self.wanted == self.earlier:
            return
        live = cluster.get(object_path(self.wanted))
        if live is not None and _images(live) == _images(self.wanted):
            cluster.apply(self.earlier)


def plan_image_change(cluster: Cluster, namespace: str, image: str) -> ImageChange:
    """Reads the live ServingRuntime and says how it gets this image; nothing is changed yet."""
    template = render_serving_runtime(namespace, image)
    live = cluster.get(object_path(template))
    if live is None:
        return ImageChange(template, None)
    if not _is_of_others(live):
        return ImageChange(template, _values(template, live, list(template["spec"])))
    # Its list of containers has no merge keys: applying the template's would take away what an
    # overlay put there, the engine's argument or the GPU's resources. So it is the live list that
    # is applied, with another image, and beside it only what this step has held already.
    held = [field for field in live["spec"] if field == "containers" or field in _held(live)]
    earlier = _values(template, live, held)
    containers = [
        {**container, "image": image} if container["name"] == CONTAINER else container
        for container in earlier["spec"]["containers"]
    ]
    return ImageChange({**earlier, "spec": {**earlier["spec"], "containers": containers}}, earlier)


def _values(template: dict[str, Any], live: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    spec = {field: live["spec"][field] for field in fields if field in live["spec"]}
    return {**template, "spec": spec}


def _is_of_others(live: dict[str, Any]) -> bool:
    """True when somebody but this step has written its spec, as an overlay or an editor."""
    return any(
        "f:spec" in entry.get("fieldsV1", {})
        for entry in live["metadata"].get("managedFields", [])
        if entry.get("manager") != FIELD_MANAGER
    )


def _held(live: dict[str, Any]) -> set[str]:
    """Names the fields of the spec that this step has applied: one left out would be removed."""
    return {
        field.removeprefix("f:")
        for entry in live["metadata"].get("managedFields", [])
        if entry.get("manager") == FIELD_MANAGER
        for field in entry.get("fieldsV1", {}).get("f:spec", {})
    }


def _image(runtime: dict[str, Any] | None) -> str:
    containers = runtime["spec"]["containers"] if runtime else []
    return next((item.get("image", "") for item in containers if item["name"] == CONTAINER), "")


def _images(runtime: dict[str, Any]) -> list[str]:
    return [container.get("image", "") for container in runtime["spec"]["containers"]]
