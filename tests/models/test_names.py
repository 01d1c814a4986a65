import pytest

from kdzoo.distillation import schedules
from kdzoo.models import names
from kdzoo.models.names import ModelName
from zoo import InputError


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("wrn16-8", ModelName("wrn", 16, 8)),
        ("wrn16-8_20-65", ModelName("wrn", 16, 8, schedules.StepSchedule(20, 65))),
        ("dn100-12", ModelName("dn", 100, 12)),
        ("dn100-12_15-50", ModelName("dn", 100, 12, schedules.StepSchedule(15, 50))),
        ("resnet34_50", ModelName("resnet", 34, None, schedules.StoppedSchedule(50))),
        ("wrn16-8_cos-65", ModelName("wrn", 16, 8, schedules.CosineSchedule(65))),
    ],
)
def test_names_are_parsed_and_printed(name, parsed):
    assert names.parse(name) == parsed
    assert str(parsed) == name
    assert names.parse(parsed.architecture) == ModelName(parsed.family, parsed.depth, parsed.width)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "foo",
        "wrn16",
        "wrn-2",
        "wrn16-2-3",
        "wrn016-2",
        "wrn16-02",
        "WRN16-2",
        "resnet34-2",
        "vgg16-1",
        "wrn16-2_",
        "wrn16-2_65-20",
        "wrn16-2_0-65",
        "wrn16-2_20/65",
        "wrn16-2_cos",
        " wrn16-2",
        "wrn16-2\n",
        "../wrn16-2",
        "wrn16-2\0",
        "wrn16-2" + "0" * 10_000,
    ],
)
def test_invalid_names_are_refused(name):
    with pytest.raises(InputError, match=r"for example .*Received: (?s:.)"):
        names.parse(name)
