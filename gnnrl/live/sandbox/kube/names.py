"""Rules for names, keys and values of labels (k8s.io/apimachinery, pkg/api/validate/content). Each gives what is wrong, nothing = valid."""

from __future__ import annotations

import re

__all__ = ["dns_subdomain", "label_value", "path_segment", "path_segment_prefix", "percent", "qualified_name"]

LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
LONGEST_SUBDOMAIN = 253
KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
KEY_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
KEY_EXAMPLES = ("MyName", "my.name", "123-abc")
VALUE = f"({KEY})?"
VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
LONGEST_LABEL = 63
PERCENT = "[0-9]+%"


def dns_subdomain(name: str) -> list[str]:
    """Most kinds' names."""
    wrong = _too_long(name, LONGEST_SUBDOMAIN)
    if not re.fullmatch(SUBDOMAIN, name):
        wrong.append(_unlike(SUBDOMAIN_RULE, SUBDOMAIN, ("example.com",)))
    return wrong


def qualified_name(key: str) -> list[str]:
    """Keys of labels: a name, before it the domain of its owner and a slash, if any."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        optional = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {_unlike(KEY_RULE, KEY, KEY_EXAMPLES)}{optional}"]
    wrong = []
    if slash:
        wrong += [f"prefix part {each}" for each in (dns_subdomain(prefix) if prefix else ["must be non-empty"])]
    if not name:
        wrong.append("name part must be non-empty")
    wrong += [f"name part {each}" for each in _too_long(name, LONGEST_LABEL)]
    if not re.fullmatch(KEY, name):
        wrong.append(f"name part {_unlike(KEY_RULE, KEY, KEY_EXAMPLES)}")
    return wrong


def label_value(value: str) -> list[str]:
    """Values of labels."""
    wrong = _too_long(value, LONGEST_LABEL)
    if not re.fullmatch(VALUE, value):
        wrong.append(_unlike(VALUE_RULE, VALUE, ("MyValue", "my_value", "12345")))
    return wrong


def path_segment(name: str) -> list[str]:
    """What every name must be at least: it stands in a path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return path_segment_prefix(name)


def path_segment_prefix(name: str) -> list[str]:
    """As `path_segment`, for the beginning of a name."""
    return [f"may not contain '{each}'" for each in ("/", "%") if each in name]


def percent(value: str) -> list[str]:
    """A share of pods."""
    if re.fullmatch(PERCENT, value):
        return []
    return [
        _unlike("a valid percent string must be a numeric string followed by an ending '%'", PERCENT, ("1%", "93%"))
    ]


def _too_long(text: str, most: int) -> list[str]:
    return [f"must be no more than {most} bytes"] if len(text.encode()) > most else []


def _unlike(rule: str, form: str, examples: tuple[str, ...]) -> str:
    shown = " or ".join(f"'{each}', " for each in examples)
    return f"{rule} (e.g. {shown}regex used for validation is '{form}')"
