"""Names of classes in the order of their labels: of the data sets that are known by name, as TFDS labels them."""

from collections.abc import Mapping
from typing import Any

CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
CLASS_NAMES = {"cifar10": tuple(CIFAR10.split()), "cifar100": tuple(CIFAR100.split()), "digits": tuple("0123456789")}


def of_dataset(name: str, num_classes: int) -> tuple[str, ...]:
    """Returns the names of a data set's classes; none if the data set has another number of them or is not known."""
    names = CLASS_NAMES.get(name, ())
    return names if len(names) == num_classes else ()


def of_record(dataset: Mapping[str, Any]) -> list[str]:
    """Returns the class names of the data set in a record or card; the labels as text if it holds none."""
    return list(dataset.get("class_names") or map(str, range(dataset["num_classes"])))
