"""As whom deploy asks the API server, and what helps when that refuses."""

from components.kubernetes_connection import Caller

FIELD_MANAGER = "segmentor-deploy"
DEPLOYER = Caller(
    FIELD_MANAGER,
    {
        403: "bind the Role segmentor-deployer to the pipeline's service account (manifests/base)",
        404: "install KServe, and create the namespace",
        422: "the manifest does not fit this KServe's CRDs",
    },
    "run with --apply false",
)
