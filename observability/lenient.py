"""Reads a message even if a text in it is not UTF-8: bytes that are no letter become �.

A caller's header may hold any bytes, and Envoy writes them into a span. proto3 would refuse the whole message.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message

M = TypeVar("M", bound=Message)


def read(kind: type[M], data: bytes) -> M:
    """The message. DecodeError: the data is no such message."""
    try:
        return kind.FromString(data)
    except DecodeError:
        # In protobuf's encoding, a text and bytes look the same.
        as_bytes = _with_bytes(kind.DESCRIPTOR).FromString(data)
        _mend(as_bytes, kind.DESCRIPTOR)
        return kind.FromString(as_bytes.SerializeToString())


@functools.cache
def _with_bytes(descriptor: Descriptor) -> type[Message]:
    """The class of the same message, with bytes in place of every text."""
    pool = descriptor_pool.DescriptorPool()
    for file in dict.fromkeys(_files(descriptor.file)):
        copied = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(copied)
        copied.ClearField("service")
        waiting = list(copied.message_type)
        while waiting:
            message = waiting.pop()
            waiting.extend(message.nested_type)
            for field in message.field:
                if field.type == field.TYPE_STRING:
                    field.type = field.TYPE_BYTES
        pool.AddSerializedFile(copied.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.full_name))


def _files(file: FileDescriptor) -> Iterator[FileDescriptor]:
    for one in file.dependencies:
        yield from _files(one)
    yield file


def _mend(message: Message, descriptor: Any) -> None:
    for field, value in message.ListFields():
        meant = descriptor.fields_by_name[field.name]
        values: list[Any] = list(value) if field.is_repeated else [value]
        if meant.type == FieldDescriptor.TYPE_MESSAGE:
            for one in values:
                _mend(one, meant.message_type)
        elif meant.type == FieldDescriptor.TYPE_STRING:
            mended = [one.decode(errors="replace").encode() for one in values]
            if field.is_repeated:
                value[:] = mended
            else:
                setattr(message, field.name, mended[0])
