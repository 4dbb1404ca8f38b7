"""What the contracts say of themselves: the comments beside services, methods, messages, fields and enum values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

# The numbers of these in a path of the source info: file.package, file.service[2].method[0], message.field[1], …
_PACKAGE, _MESSAGES, _ENUMS, _SERVICES = 2, 4, 5, 6
_METHODS, _FIELDS, _NESTED, _NESTED_ENUMS, _VALUES = 2, 2, 3, 4, 2

Place = tuple[tuple[int, ...], str]


def comments(parsed: FileDescriptorSet) -> dict[str, str]:
    """The comments by full name; a service without one has that of its package. Of files without source info there are none."""
    found: dict[str, str] = {}
    for file in parsed.file:
        said = {tuple(one.path): one.leading_comments or one.trailing_comments for one in file.source_code_info.location}
        of_package = _plain(said.get((_PACKAGE,), ""))
        found |= {name: text for path, name in _places(file) if (text := _plain(said.get(path, "")))}
        found |= {name: of_package for service in file.service if (name := f"{file.package}.{service.name}") not in found}
    return found


def without_comments(descriptors: bytes) -> bytes:
    """The same descriptor set for readers that need none: Envoy's transcoder."""
    parsed = FileDescriptorSet.FromString(descriptors)
    for file in parsed.file:
        file.ClearField("source_code_info")
    return parsed.SerializeToString()


def _places(file: FileDescriptorProto) -> Iterator[Place]:
    for number, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield (_SERVICES, number), name
        yield from (((_SERVICES, number, _METHODS, n), f"{name}.{method.name}") for n, method in enumerate(service.method))
    yield from _types((), file.package, (_MESSAGES, file.message_type), (_ENUMS, file.enum_type))


def _types(
    path: tuple[int, ...],
    within: str,
    messages: tuple[int, Sequence[DescriptorProto]],
    enums: tuple[int, Sequence[EnumDescriptorProto]],
) -> Iterator[Place]:
    kind, found = messages
    for number, message in enumerate(found):
        at, name = (*path, kind, number), f"{within}.{message.name}"
        yield at, name
        yield from (((*at, _FIELDS, n), f"{name}.{field.name}") for n, field in enumerate(message.field))
        yield from _types(at, name, (_NESTED, message.nested_type), (_NESTED_ENUMS, message.enum_type))
    kind, listed = enums
    for number, enum in enumerate(listed):
        at, name = (*path, kind, number), f"{within}.{enum.name}"
        yield at, name
        yield from (((*at, _VALUES, n), f"{name}.{value.name}") for n, value in enumerate(enum.value))


def _plain(text: str) -> str:
    """Lines of one paragraph become one line; items of a list stay apart."""
    paragraphs = [
        "".join(f"\n{line}" if line.startswith(("- ", "* ")) else f" {line}" for line in map(str.strip, paragraph.splitlines()))
        for paragraph in re.split(r"\n\s*\n", text.strip())
    ]
    return "\n\n".join(paragraph.strip() for paragraph in paragraphs if paragraph.strip())
