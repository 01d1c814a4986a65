"""Which data a run learns from, and how its pictures become images for a network."""

import dataclasses
import re

VIEWS = 8  # random-resized crops of a picture
MEMORY_GB = 4.0


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """A data set and its views. `kdzoo.RunConfig` has fields of the same names, `kdzoo.data.load` takes them.

    Attributes:
        dataset: cifar10, cifar100, digits, npz:FILE, folder:DIR or tfds:NAME[/CONFIG][:VERSION].
        dataset_name: name of a known data set in a file or folder, whose mean and standard deviation it then has.
        augment: a key of `kdzoo.data.AUGMENTATIONS`, or auto: inception if `image_size` is set, else the usual one.
        image_size: height and width of images, in pixels; 0: pictures as they are, all of one size.
        views: with inception, random-resized crops of a picture; 0: others in every epoch.
        memory_gb: most memory for images, in 10^9 bytes. A data set that needs more is streamed.
        test_share: share of the pictures of a folder without test/ or val/ that becomes the test set.
        background: colour behind transparent pictures, a name or #rrggbb.
        class_names: file with the names of a folder's classes, one a line, in the order of their numbers.
        train_split, test_split: names of a TFDS data set's splits; "": train, and test or validation.
        unlabelled: more training pictures, without labels: folder:DIR, tfds:NAME[/CONFIG][:VERSION] or npz:FILE.
    """

    dataset: str = "cifar10"
    dataset_name: str = ""
    augment: str = "auto"
    image_size: int = 0
    views: int = VIEWS
    memory_gb: float = MEMORY_GB
    test_share: float = 0.0
    background: str = "white"
    class_names: str = ""
    train_split: str = ""
    test_split: str = ""
    unlabelled: str = ""

    @property
    def name(self) -> str:
        """The name that runs record: `dataset_name`, NAME of tfds:NAME/CONFIG:VERSION, or the source."""
        kind, _, rest = self.dataset.partition(":")
        return self.dataset_name or (re.split("[/:]", rest)[0] if kind == "tfds" else self.dataset)
