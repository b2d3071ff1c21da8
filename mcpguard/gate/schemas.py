"""Arguments and results held against the pinned definition of their tool.

Rule 1: a definition that cannot be used refuses: it says what the tool takes, and nobody can tell.
Rule 2: schemas are compiled when a tool is first called: a server may define hundreds.

Source: MCP server/tools, inputSchema and outputSchema (2025-06-18): clients should hold structured results against
the output schema; an answer that reports an error needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mcpguard.audit.marks import Marks, marks_of
from mcpguard.model import Json, JsonObject
from mcpguard.policy.schema import Schema, SchemaError, compile_schema

_AGAIN: Final = "a person can see it with: mcpguard server show"


class PinnedSchemas:
    """The schemas of one server's pinned tools.

    Args:
        definitions: Name of a tool to its pinned definition.
    """

    __slots__ = ("_compiled", "_definitions", "_marks")

    def __init__(self, definitions: Mapping[str, JsonObject]) -> None:
        self._definitions = definitions
        self._compiled: dict[tuple[str, str], Schema | str | None] = {}
        self._marks: dict[str, Marks | None] = {}

    def arguments_fault(self, tool: str, arguments: JsonObject) -> str:
        """Why arguments are not what the tool takes, as a sentence; empty if they are, or nothing is pinned."""
        schema = self._schema(tool, "inputSchema")
        if schema is None or isinstance(schema, str):
            return schema or ""
        fault = schema.fault(arguments)
        return f"the arguments object {fault}" if fault else ""

    def result_fault(self, tool: str, result: JsonObject) -> str:
        """Why a complete result is not what the tool gives, as a sentence; empty if it is, or nothing is pinned."""
        schema = self._schema(tool, "outputSchema")
        if schema is None or result.get("isError") is True:
            return ""
        if isinstance(schema, str):
            return schema
        if "structuredContent" not in result:
            return "it has no structured content, which its pinned definition promises"
        fault = schema.fault(result["structuredContent"])
        return f"its structured content {fault}" if fault else ""

    def marks(self, tool: str) -> Marks | None:
        """What of the arguments of a tool its pinned definition says is secret; None for nothing."""
        definition = self._definitions.get(tool)
        if definition is None:
            return None
        if tool not in self._marks:
            self._marks[tool] = marks_of(definition.get("inputSchema"))
        return self._marks[tool]

    def _schema(self, tool: str, member: str) -> Schema | str | None:
        """The compiled schema; a sentence if it cannot be used, None if there is none."""
        place = (tool, member)
        if place not in self._compiled:
            definition = self._definitions.get(tool)
            found: Json = None if definition is None else definition.get(member)
            if definition is None:
                return None  # names that are not pinned are not remembered: anybody can make them up
            try:
                made = None if found is None else compile_schema(found, what=f"the pinned {member}")
            except SchemaError as error:
                self._compiled[place] = f"{error.message}; {_AGAIN}"
            else:
                self._compiled[place] = made
        return self._compiled[place]
