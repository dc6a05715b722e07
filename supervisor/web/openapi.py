"""The description of all operations, for programs: OpenAPI 3.1, made from the table and the types."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .errors import STATUS, ErrorBody
from .operations import OPERATIONS, Operation

__all__ = ["describe"]

_REFERENCE = "#/components/schemas/{name}"
_OWN = ("id", "op")
"""Of a command's fields: the path says which it is, and HTTP has its own way to match answers."""


class _Failed(msgspec.Struct, frozen=True):
    error: ErrorBody


def describe(version: str, operations: tuple[Operation, ...] = OPERATIONS) -> dict[str, Any]:
    """The OpenAPI document."""
    types: list[Any] = [_Failed, *(operation.answer for operation in operations)]
    types += [operation.query for operation in operations] + [
        operation.command for operation in operations if operation.changes
    ]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    failed, rest = schemas[0], schemas[1:]
    answers = dict(zip((operation.name for operation in operations), rest, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        if operation.changes and operation.command is not None:
            _as_body(components[operation.command.__name__])
    for operation in operations:
        method = "post" if operation.changes else "get"
        paths.setdefault(operation.path, {})[method] = _operation(
            operation, answers[operation.name], failed, components
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "neverblink",
            "version": version,
            "description": "One bot: what it does, and what an operator may do with it. Times are nanoseconds.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`neverblink token add NAME` makes one.",
                }
            },
        },
    }


def _operation(
    operation: Operation, answer: dict[str, Any], failed: dict[str, Any], components: dict[str, Any]
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            "200": {"description": "Done.", "content": {operation.media: {"schema": answer}}},
            **{
                str(status): {
                    "description": ", ".join(
                        code for code, its in STATUS.items() if its == status and code in operation.codes
                    ),
                    "content": {"application/json": {"schema": failed}},
                }
                for status in sorted({STATUS[code] for code in operation.codes})
            },
        },
    }
    if operation.role is None:
        result["security"] = []
    else:
        result["x-role"] = operation.role
    if operation.changes and operation.command is not None:
        schema = {"$ref": _REFERENCE.format(name=operation.command.__name__)}
        result["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 1, "maximum": 2**53},
        }
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    query = components[operation.query.__name__]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in query["properties"].items()
    ]
    if parameters:
        result["parameters"] = parameters
    return result


def _as_body(schema: dict[str, Any]) -> None:
    for name in _OWN:
        schema["properties"].pop(name, None)
    schema["required"] = [name for name in schema.get("required", []) if name not in _OWN]
