"""The sweep: one training for each set of overrides, the best goes on. The graph, and no logic."""

from kfp import dsl

from components.choose.component import choose
from components.container_images import DATA, TRAINER
from components.summarise.component import summarise
from pipelines.cluster_settings import pipeline_settings, set_basics
from pipelines.stages import check_early, prepare, train_once, verify_and_deploy


@dsl.pipeline(
    name="segmentation-sweep",
    display_name="Segmentation sweep",
    pipeline_config=pipeline_settings(),
)
def sweep(
    source: str,
    images: str = "",
    classes: str = "",
    label_map: str = "",
    unlabelled: str = "background",
    empty_images: str = "negative",
    bad_samples: str = "fail",
    group_pattern: str = "",
    ratios: str = "0.7,0.2,0.1",
    seed: int = 0,
    honour_subsets: bool = False,
    near_duplicates: str = "together",
    override_sets: list[str] = ["model=tiny", "model=fpn"],  # noqa: B006 - nothing changes it
    metric: str = "val_iou",
    size_policy: str = "trained",
    export_precision: str = "float32",
    model_name: str = "segmentation",
    destination: str = "s3://models",
    version: str = "",
    namespace: str = "default",
    min_iou: float = 0.5,
    max_probability_difference: float = 1e-4,
    max_flipped_fraction: float = 1e-5,
    max_iou_drop: float = 0.0,
    apply: bool = False,
    deploy_deadline: int = 600,
    cache_salt: str = "",
    data_image: str = DATA,
    trainer_image: str = TRAINER,
    predictor_image: str = "",
    object_store_secret: str = "segmentor-object-store",
    predictor_service_account: str = "segmentor-predictor",
    train_cpu: str = "2",
    train_memory: str = "8Gi",
    train_accelerator_type: str = "nvidia.com/gpu",
    train_accelerators: str = "0",
    train_node_selector: dict = {},  # noqa: B006 - KFP reads it, nothing changes it
    train_tolerations: list = [],  # noqa: B006
):
    """Trains with several sets of overrides and deploys the best of them.

    Args:
        source: The CVAT export: a zip file or a folder, at a path or an s3:// or minio:// URI.
        images: Where the images lie when the export holds none; empty when it does.
        classes: Which labels become which classes ('road=road_surface+marking'); empty keeps all.
        label_map: A YAML file that says more than classes can: path or URI; else empty.
        unlabelled: What a pixel without a label is: 'background' or 'ignore'.
        empty_images: Images without any label: 'negative' keeps, 'skip' drops, 'fail' refuses them.
        bad_samples: Samples that are wrong: 'fail' stops with all of them, 'skip' leaves them out.
        group_pattern: Regular expression whose first group names a sample's group; empty for none.
        ratios: Shares of train, val and test, separated by commas.
        seed: Seed of the division.
        honour_subsets: Keep the subsets that the export names instead of dividing anew.
        near_duplicates: Images that look the same: 'together' in one split, or only 'report' them.
        override_sets: Sets of Hydra overrides; one training for each.
        metric: What training measures on val, by which the best is chosen; the greatest wins.
        size_policy: 'trained' as the checkpoint says; 'resize' to the training size; or 'native'.
        export_precision: 'float32'; 'both' writes model.int8.onnx beside it, for fast engines;
            'int8' writes it in place of model.onnx.
        model_name: Name of the model and of its InferenceService.
        destination: Where models are published: s3://<bucket> or s3://<bucket>/<prefix>.
        version: Version to publish under; empty takes the first 12 digits of the model's digest.
        namespace: Kubernetes namespace of the InferenceService.
        min_iou: The gate: least IoU on the test set.
        max_probability_difference: Largest difference of probability of torch and ONNX.
        max_flipped_fraction: Largest share of pixels that may differ between torch and ONNX.
        max_iou_drop: How much worse than the served version the model may surely be (95 %).
        apply: Apply the InferenceService and wait for it; otherwise only write its manifest.
        deploy_deadline: Seconds that the model has to become ready, before it is rolled back.
        cache_salt: Another value makes every step run again: give one when `source` was replaced.
        data_image: Container image of convert_labels, split and deploy.
        trainer_image: Container image of train, evaluate and export.
        predictor_image: Container image to put into the ServingRuntime; empty leaves it alone.
        object_store_secret: Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and S3_ENDPOINT.
        predictor_service_account: Service account whose secret lets the predictor read the model.
        train_cpu: CPUs of training, as Kubernetes writes them ('2', '500m').
        train_memory: Memory of training, shared memory included ('8Gi').
        train_accelerator_type: Resource name of the accelerators of training.
        train_accelerators: How many accelerators training gets; '0' for none, never empty.
        train_node_selector: Labels of the nodes that training may run on ({"disk": "ssd"}).
        train_tolerations: Tolerations of training, as a pod specification lists them.
    """
    ending = summarise(
        run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        source=source,
        classes=classes,
        train_overrides="",
        override_sets=override_sets,
        model_name=model_name,
        destination=destination,
        min_iou=min_iou,
    )
    set_basics(ending, data_image, hours=1).set_caching_options(False)
    # Groups are unnamed: some backends look a group up by its key, and a name hides that
    # (kubeflow/pipelines#13239).
    with dsl.ExitHandler(ending):
        # What deploy is asked for.
        wishes = {
            "name": model_name,
            "destination": destination,
            "version": version,
            "namespace": namespace,
            "service_account": predictor_service_account,
            "min_iou": min_iou,
            "max_probability_difference": max_probability_difference,
            "max_flipped_fraction": max_flipped_fraction,
            "max_iou_drop": max_iou_drop,
            "predictor_image": predictor_image,
            "apply": apply,
            "deadline": deploy_deadline,
        }
        # What export makes of the checkpoint.
        forms = {"size_policy": size_policy, "precision": export_precision}
        checked = check_early(wishes, forms, data_image, object_store_secret)
        divided = prepare(
            checked,
            source=source,
            images=images,
            classes=classes,
            label_map=label_map,
            unlabelled=unlabelled,
            empty_images=empty_images,
            bad_samples=bad_samples,
            group_pattern=group_pattern,
            ratios=ratios,
            seed=seed,
            honour_subsets=honour_subsets,
            near_duplicates=near_duplicates,
            cache_salt=cache_salt,
            image=data_image,
            secret=object_store_secret,
        )
        with dsl.ParallelFor(override_sets) as overrides:
            trained = train_once(
                divided,
                overrides=overrides,
                cache_salt=cache_salt,
                image=trainer_image,
                secret=object_store_secret,
                cpu=train_cpu,
                memory=train_memory,
                accelerator_type=train_accelerator_type,
                accelerators=train_accelerators,
                node_selector=train_node_selector,
                tolerations=train_tolerations,
            )
        chosen = choose(checkpoints=dsl.Collected(trained.outputs["checkpoint"]), metric=metric)
        set_basics(chosen, data_image, hours=6)
        verify_and_deploy(
            divided,
            chosen.outputs["checkpoint"],
            wishes,
            forms,
            data_image=data_image,
            trainer_image=trainer_image,
            secret=object_store_secret,
        )
