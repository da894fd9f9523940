"""The large model on another machine: `server` answers many devices, `client` asks.

`_messages.proto` documents what they say. Its Python form is generated and kept beside it, because making it
at import would bring a compiler to whoever decodes::

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. calibration/serving/_messages.proto

with `grpcio-tools` 1.75, whose output runs with `protobuf` 6 and 7. The methods are named in `protocol`, so
no stub is generated.
"""
