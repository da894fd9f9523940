from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DescribeRequest(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class Description(_message.Message):
    __slots__ = ("version", "name", "sha256", "tokenizer", "vocab_size", "longest", "stop_tokens")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    VOCAB_SIZE_FIELD_NUMBER: _ClassVar[int]
    LONGEST_FIELD_NUMBER: _ClassVar[int]
    STOP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    version: int
    name: str
    sha256: str
    tokenizer: str
    vocab_size: int
    longest: int
    stop_tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, version: _Optional[int] = ..., name: _Optional[str] = ..., sha256: _Optional[str] = ..., tokenizer: _Optional[str] = ..., vocab_size: _Optional[int] = ..., longest: _Optional[int] = ..., stop_tokens: _Optional[_Iterable[int]] = ...) -> None: ...

class FromDevice(_message.Message):
    __slots__ = ("open", "resume", "request", "close")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    open: Open
    resume: Resume
    request: bytes
    close: Close
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., request: _Optional[bytes] = ..., close: _Optional[_Union[Close, _Mapping]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("version", "tokenizer", "opening")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    OPENING_FIELD_NUMBER: _ClassVar[int]
    version: int
    tokenizer: str
    opening: bytes
    def __init__(self, version: _Optional[int] = ..., tokenizer: _Optional[str] = ..., opening: _Optional[bytes] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("version", "key")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    version: int
    key: bytes
    def __init__(self, version: _Optional[int] = ..., key: _Optional[bytes] = ...) -> None: ...

class Close(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FromServer(_message.Message):
    __slots__ = ("opened", "answer")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    answer: Answer
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    def __init__(self, key: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("reply", "compute_s", "queue_s")
    REPLY_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_S_FIELD_NUMBER: _ClassVar[int]
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    reply: bytes
    compute_s: float
    queue_s: float
    def __init__(self, reply: _Optional[bytes] = ..., compute_s: _Optional[float] = ..., queue_s: _Optional[float] = ...) -> None: ...
