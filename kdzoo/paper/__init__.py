"""The supplement of "On the Efficacy of Knowledge Distillation" (Cho & Hariharan, ICCV 2019), as data.

arXiv:1910.01348.
"""

_WIDE_16 = ("wrn16-1", "wrn16-2", "wrn16-3", "wrn16-4", "wrn16-6", "wrn16-8")
_WIDE_28 = ("wrn28-1", "wrn28-2", "wrn28-3", "wrn28-4", "wrn28-6", "wrn28-8")
_DEEP = ("wrn40-1", "wrn52-1", "wrn64-1", "wrn76-1", "wrn88-1", "wrn100-1", "wrn154-1", "wrn250-1")
_DENSE = ("dn40-24", "dn100-12", "dn40-48", "dn100-24")

# Table -> the architectures it names, students and teachers. Table 4 is ImageNet's, the others CIFAR-10's.
ARCHITECTURES = {
    1: ("wrn16-1", *_DENSE),
    2: ("dn40-12", *_DENSE),
    3: ("wrn16-1", "wrn16-8", "wrn100-1"),
    4: ("resnet18", "resnet34", "resnet50", "resnet152"),
    5: ("wrn16-1", *_DEEP),
    6: ("dn40-12", *_DEEP),
    7: _WIDE_16,
    8: _WIDE_28,
    9: (*_WIDE_16, *_WIDE_28),
    10: ("wrn28-1", "wrn16-4", "wrn16-6", "wrn16-11"),
}
