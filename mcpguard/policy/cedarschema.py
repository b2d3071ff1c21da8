"""The Cedar schema that policies with `engine = "cedar"` are written against, as text.

`docs/mcpguard.cedarschema` is the same text for people's own tools; `mcpguard policy cedar-schema` prints it.

Rule: an action here is `tools/call`, `extension`, or one of `rules.GATED_METHODS`, or a group of these. What is added
here is optional or filled by `cedarworld` for every request: a request that does not fit the schema is denied.

Decided:
    *Arguments are tags of an entity*, because Cedar is typed and arguments are not: `hasTag` and `getTag` pass strict
    validation with names that no schema knows. Rejected: a record, of which Cedar allows declared members only.
    *Paths and hosts are entities that are in each other*, so that `in` means what `under` of a rule means; rejected:
    text with `like`, which takes `/srv/database` for a path in `/srv/data`.
"""

from __future__ import annotations

from typing import Final

SCHEMA: Final = """\
// The Cedar schema of mcpguard, version 1.
namespace Mcpguard {
  // Who asks: an enrolled host by its name, or Host::"?". It is in its roles and in its principals.
  entity Role;
  entity Principal;                     // "uid:1000", "group:developers", "host:claude-code", "any"
  entity Host in [Role, Principal] = {
    grade: Long,                        // what the evidence about it is worth, 0 to 4
    unit?: String,                      // systemd unit
    label?: String,                     // security label that the system enforces
    version?: String,
    cwd?: Path,                         // where it has started the server
    home?: Path,
    ancestors?: Set<String>,            // programs above it: their paths, and the last components of these
  };

  // A path with every link resolved; it is in each folder above it, and in itself.
  entity Path in [Path];
  // The host of a URL, lower case; it is in each domain above it, and in itself.
  entity Site in [Site];

  // What is asked for. Ids of tools, resources, prompts and completions are "SERVER/NAME".
  entity Server = { name: String, server: String };
  entity Tool in [Server] = {
    name: String,
    server: String,
    reads: Set<String>,                 // labels of its answers
    sends: Set<String>,                 // labels of where it sends what it is given
    risk?: String,                      // as its manifest says
    annotations?: Annotations,          // as pinned; missing hints as MCP has them
  };
  type Annotations = {
    readOnlyHint: Bool,
    destructiveHint: Bool,
    idempotentHint: Bool,
    openWorldHint: Bool,
  };
  entity Resource in [Server] = { name: String, server: String };      // name: the URI, normalised
  entity Prompt in [Server] = { name: String, server: String };
  entity Completion in [Server] = { name: String, server: String };    // "prompt NAME" or "resource URI"
  entity Extension in [Server] = { name: String, server: String };

  // Arguments of a tool or prompt, else the params: one tag for each value that is no list or object. The tag is the
  // name; of a value inside of others it is a JSON Pointer, "/options/limit". What has no such value has no tag.
  entity Arguments tags String;         // text as it is, everything else as JSON
  entity Numbers tags Long;             // whole numbers
  entity Paths tags Path;               // text as a path; of a list of paths the deepest folder that holds them all
  entity Sites tags Site;               // text as a URL; of a list of URLs the domain that they share

  type Context = {
    args: Arguments,
    numbers: Numbers,
    paths: Paths,
    sites: Sites,
    seen: Set<String>,                  // labels that answers have brought to this run of the host
    session: Set<String>,               // local or remote, locked or unlocked; what is not known is not there
    hour: Long,                         // of the clock in `zone` of the policy
    minute: Long,
    weekday: Long,                      // Monday is 0
  };

  action "resources", "tasks", "logging";
  action "tools/call" appliesTo { principal: Host, resource: Tool, context: Context };
  action "resources/read", "resources/subscribe", "resources/unsubscribe" in ["resources"]
    appliesTo { principal: Host, resource: Resource, context: Context };
  action "prompts/get" appliesTo { principal: Host, resource: Prompt, context: Context };
  action "completion/complete" appliesTo { principal: Host, resource: Completion, context: Context };
  action "extension" appliesTo { principal: Host, resource: Extension, context: Context };
  action "elicitation/create", "roots/list", "sampling/createMessage", "subscriptions/listen"
    appliesTo { principal: Host, resource: Server, context: Context };
  action "logging/setLevel", "notifications/message" in ["logging"]
    appliesTo { principal: Host, resource: Server, context: Context };
  action "tasks/cancel", "tasks/get", "tasks/list", "tasks/result", "tasks/update" in ["tasks"]
    appliesTo { principal: Host, resource: Server, context: Context };
}
"""
"""The schema, in Cedar's own syntax."""
