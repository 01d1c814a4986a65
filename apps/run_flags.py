"""Defines the flags of a run, group by group; defaults are those of `kdzoo.RunConfig`.

A command calls the functions of the groups it has, then `flags.adopt_module_key_flags(run_flags)`, which makes `--help`
list them.
"""

from absl import flags

from apps import external_teacher_flags, flag_values, method_flags, model_flags, training_flags
from kdzoo.distillation.checks import AT_MODES
from kdzoo.runs import checkpoints
from kdzoo.runs.config import (
    AUGMENTATIONS,
    DTYPE_POLICIES,
    STRATEGIES,
    TEACHER_DTYPES,
    TEACHER_STORES,
    RunConfig,
)
from kdzoo.runs.recipes import RECIPES
from kdzoo.runs.settings import to_text
from kdzoo.teachers import base, output_cache


def define_run_flags() -> None:
    """Defines the flags of any single training run."""
    flags.DEFINE_string(
        "schedule",
        None,
        "Learning-rate schedule. k-N multiplies the learning rate by --lr_decay every k epochs and ends after N; cos-N"
        " follows half a cosine over N epochs; N alone is 30-90 shrunk to N epochs; any of them with @M ends after M"
        " epochs. Examples: 20-65, cos-65, 60-200@65. Required, unless --recipe sets it.",
    )
    define_data_flags()
    model_flags.define_model_flags()
    flag_values.define_directory(
        "workdir",
        None,
        "Directory for the run's weights, checkpoint, record and event files. It is created if it does not exist; an"
        " unfinished run in it resumes. Required.",
        required=True,
    )
    flag_values.define_number(
        "seed", RunConfig.seed, "Seed of the initial weights, the order of the examples and the augmentation."
    )
    define_optimiser_flags()
    define_recipe_flag()
    require_schedule()
    flags.DEFINE_enum(
        "strategy",
        RunConfig.strategy,
        STRATEGIES,
        "Distribution strategy. none uses one device; mirrored uses TensorFlow's MirroredStrategy over all GPUs, or"
        " over all logical CPUs on a machine without GPUs; data_parallel uses all devices of JAX, in one process or"
        " several.",
    )
    define_process_flags()
    flag_values.define_number(
        "fused_steps",
        RunConfig.fused_steps,
        "Largest number of training steps in one call of the compiled program, with the JAX backend only. 0 means 1 on"
        " a CPU and 64 on accelerators.",
    )
    define_checkpoint_flag()
    flags.DEFINE_string(
        "keep_epochs",
        RunConfig.keep_epochs,
        "Epochs before the last whose weights are kept, separated by commas. Each is a finished run of its own in"
        " WORKDIR/epochs/N, on a schedule that ends there; WORKDIR@N names it as a teacher or a run to publish."
        " Example: 20,65.",
    )
    flags.DEFINE_enum(
        "progress",
        "auto",
        ["auto", "bar", "lines", "json"],
        "How to print progress: a progress bar, one line per epoch, or one JSON object per line for other programs."
        " auto is bar on a terminal and lines elsewhere.",
    )
    flags.DEFINE_bool(
        "restart", False, "Whether to delete a finished or unfinished run in --workdir and train from the beginning."
    )


def define_process_flags() -> None:
    """Defines how the processes of a data-parallel run find each other."""
    flags.DEFINE_string(
        "coordinator",
        "",
        "With --strategy=data_parallel in several processes: HOST:PORT at which the first of them listens. All of them"
        " are given the same command, but for --process_id. Empty: they are found as jax.distributed finds them, under"
        " Slurm, Open MPI, Kubernetes or on Cloud TPU. Example: 10.0.0.1:1234.",
    )
    flag_values.define_number(
        "num_processes", 0, "With --coordinator: number of the run's processes. 0: found by jax.distributed."
    )
    flag_values.define_number(
        "process_id", -1, "With --coordinator: number of this process, from 0. -1: found by jax.distributed."
    )


def define_checkpoint_flag() -> None:
    """Defines how often runs save a checkpoint."""
    flag_values.define_number(
        "checkpoint_minutes",
        checkpoints.MINUTES,
        "Longest time between two checkpoints of a run, in minutes. Every epoch also ends with a checkpoint.",
    )


def require_schedule() -> None:
    """Makes --schedule a required flag, unless the recipe sets it."""
    flags.register_validator(
        "schedule",
        lambda schedule: schedule is not None or "schedule" in RECIPES[flags.FLAGS["recipe"].value or "cifar"],
        "Flag --schedule must have a value other than None, for example 20-65, unless --recipe sets it.",
    )


def define_recipe_flag(default: str = "cifar for networks of the zoo, adamw for all others") -> None:
    """Defines the recipe, which sets flags that are not given; `default` describes its default."""
    described = "Values of flags that are not given. cifar has the defaults"
    for name, fields in RECIPES.items():
        if fields:
            described += f"; {name} has {' '.join(f'--{field}={to_text(value)}' for field, value in fields.items())}"
    flags.DEFINE_enum("recipe", None, list(RECIPES), f"{described}. Default: {default}.")


def define_optimiser_flags() -> None:
    """Defines the flags of optimizer and regularisation."""
    training_flags.define_training_flags()
    flags.adopt_module_key_flags(training_flags)


def define_data_flags() -> None:
    """Defines the flags of the training data, and the precision they are processed in."""
    flags.DEFINE_string(
        "dataset",
        RunConfig.dataset,
        "Data set: cifar10 or cifar100 (from $TFDS_DATA_DIR, or downloaded), digits (part of scikit-learn), npz:FILE"
        " with the arrays x_train, y_train, x_test and y_test, folder:DIR with pictures in train/CLASS/ and test/CLASS/"
        " or val/CLASS/, or in CLASS/ alone (see --test_share), or tfds:NAME[/CONFIG][:VERSION], any set of TensorFlow"
        " Datasets with an image and a label. Example: folder:data/flowers.",
    )
    flags.DEFINE_string(
        "dataset_name",
        RunConfig.dataset_name,
        "Name of the data set in npz:FILE or folder:DIR, if it is a known one; this sets its mean and standard"
        " deviation. Example: cifar10. Empty: the file or folder is its own data set.",
    )
    define_picture_flags()
    flags.DEFINE_enum(
        "augment",
        RunConfig.augment,
        AUGMENTATIONS,
        "Augmentation of training images. crop pads by 4 pixels and crops at random, crop_flip also flips half of the"
        " images horizontally: for images of one size. inception takes pictures of any size: a random crop of 8 to"
        " 100 % of the area is resized, and half of them are flipped; resize treats them as test images, whose centred"
        " square is resized. auto is inception if --image_size is set, else the usual choice for the data set.",
    )
    flag_values.define_number(
        "train_examples",
        RunConfig.train_examples,
        "Number of training examples to use, balanced over the classes. 0 means all.",
    )
    flag_values.define_number(
        "val_examples",
        RunConfig.val_examples,
        "Number of training examples to hold out for validation, balanced over the classes. 0 means none.",
    )
    flags.DEFINE_enum(
        "dtype_policy",
        RunConfig.dtype_policy,
        DTYPE_POLICIES,
        "Keras dtype policy of student and teachers. auto measures float32 and mixed_bfloat16 first and uses the faster"
        " one.",
    )


def define_picture_flags() -> None:
    """Defines how pictures of any size and number become images."""
    flag_values.define_number(
        "image_size",
        RunConfig.image_size,
        "Height and width to which pictures are resized, in pixels, by an antialiased bilinear filter. 0: they are all"
        " of one size and stay as they are.",
    )
    flag_values.define_number(
        "views",
        RunConfig.views,
        "With --augment=inception: number of random crops of each picture. Teacher outputs for all of them can be"
        " cached. 0: other crops in every epoch, for which nothing is cached.",
    )
    flag_values.define_number(
        "memory_gb",
        RunConfig.memory_gb,
        "Most memory for images, in units of 10^9 bytes. A data set that needs more is read from disk as it is needed.",
    )
    flag_values.define_number(
        "test_share",
        RunConfig.test_share,
        "Share of the pictures of a folder without test/ or val/ that becomes the test set. A picture's path decides,"
        " so it stays where it is when others are added.",
    )
    flags.DEFINE_string(
        "background",
        RunConfig.background,
        "Colour behind transparent pictures: a name or #rrggbb.",
    )
    flags.DEFINE_string(
        "class_names",
        RunConfig.class_names,
        "File with the names of the classes of folder:DIR, one a line, in the order of their numbers. Empty: the names"
        " of the folders, sorted by code point.",
    )
    flags.DEFINE_string(
        "train_split", RunConfig.train_split, "Split of tfds:NAME to train on, in TFDS's words. Empty: train."
    )
    flags.DEFINE_string(
        "test_split",
        RunConfig.test_split,
        "Split of tfds:NAME to test on, in TFDS's words. Empty: test, or validation if there is none or if it has no"
        " labels.",
    )
    flag_values.define_number(
        "data_workers",
        -1,
        "Number of processes that decode pictures; the result does not depend on it. 0: none beside the run's own; -1:"
        " one for each of several cores, at most 16.",
    )


def define_cache_flags() -> None:
    """Defines where teacher outputs are cached, and how large the cache may grow."""
    flags.DEFINE_string(
        "teacher_cache",
        "auto",
        "Folder in which teacher outputs are cached for all runs. auto is $KDZOO_CACHE, or kdzoo in the user's cache"
        " folder; off computes them anew in every epoch; s3://BUCKET/PREFIX reads those that apps.precompute wrote.",
    )
    flag_values.define_number(
        "cache_gb",
        output_cache.CACHE_GB,
        "Largest size of the cache of teacher outputs, in units of 10^9 bytes. The least recently used outputs are"
        " evicted first.",
    )


def define_distillation_flags() -> None:
    """Defines the flags of teachers, and of the weights of the loss's terms."""
    define_teacher_flags()
    method_flags.define_method_flags()
    flags.adopt_module_key_flags(method_flags)
    flag_values.define_number(
        "ce_weight",
        None,
        "Weight of the cross-entropy with the labels. Default: the weight that --method sets.",
    )
    flag_values.define_number(
        "kd_weight",
        None,
        "Weight of the KD term T^2 * KL(teacher || student). Default: the weight that --method sets.",
    )
    flag_values.define_number(
        "at_weight", None, "Weight of the attention-transfer term. Default: the weight that --method sets."
    )
    flag_values.define_number(
        "kd_until",
        RunConfig.kd_until,
        "Share of the student's epochs that use the teacher; the remaining epochs train on the labels alone. Below 1"
        " this is early-stopped distillation (ESKD).",
    )
    define_term_flags()
    define_unlabelled_flags()


def define_unlabelled_flags() -> None:
    """Defines the pictures without labels from which the student learns by its teachers."""
    flags.DEFINE_string(
        "unlabelled",
        RunConfig.unlabelled,
        "More training pictures, from which the student learns by its teachers alone: folder:DIR with pictures anywhere"
        " below it, tfds:NAME[/CONFIG][:VERSION] or npz:FILE with an array x_train or x. Labels that they may have are"
        " ignored. Example: folder:data/photos.",
    )
    flag_values.define_number(
        "unlabelled_share",
        RunConfig.unlabelled_share,
        "With --unlabelled: share of these pictures in each batch. An epoch is still one pass over the labelled images,"
        " so it has more steps.",
    )


def define_term_flags() -> None:
    """Defines the flags of how the KD and AT terms are computed."""
    flag_values.define_number("temperature", RunConfig.temperature, "Temperature T of the KD term's softmax.")
    model_flags.define_stage_flags()
    flags.DEFINE_enum(
        "at_mode",
        RunConfig.at_mode,
        AT_MODES,
        "Distance between attention maps: code is the mean squared difference of the authors' code, paper is the L2"
        " norm of the paper's equation.",
    )


def define_teacher_flags() -> None:
    """Defines which teachers there are, and how their outputs are computed."""
    flags.DEFINE_list(
        "teacher",
        [],
        "Teacher of the student: the name of a published model (python -m apps.list prints them),"
        " https://HOST/FOLDER/NAME, hf://OWNER/REPO/NAME, the directory of a finished run or of any SavedModel,"
        " onnx:FILE, FILE.keras or grpc[s]://HOST:PORT/NAME; keras:NAME, kerashub:PRESET or package.module:function, as"
        " in --student, if it brings weights for the classes. Several, separated by commas, form an ensemble. Example:"
        " wrn16-2_10-35.",
    )
    external_teacher_flags.define_external_teacher_flags()
    flag_values.define_number(
        "teacher_image_size",
        RunConfig.teacher_image_size,
        "Height and width to which the student's view is resized for the teachers, in pixels. 0: they take it as it"
        " is.",
    )
    flags.DEFINE_enum(
        "teacher_store",
        RunConfig.teacher_store,
        TEACHER_STORES,
        "Precision to which teacher logits are rounded, in the cache and without it. float16 halves the cache.",
    )
    flag_values.define_number(
        "teacher_deadline",
        base.DEADLINE,
        "Time within which a gRPC teacher must respond, in seconds. After it the run saves a checkpoint and ends.",
    )
    flags.DEFINE_enum(
        "teacher_dtype",
        RunConfig.teacher_dtype,
        TEACHER_DTYPES,
        "Precision of the teachers' computation. auto follows --dtype_policy. Outputs in bfloat16 are first compared"
        " with those in float32.",
    )
    define_cache_flags()
