"""Cedar policies for tests: a file around some text, and equal policies in both languages."""

from mcpguard.model import Caller
from mcpguard.policy.cedar import CedarPolicy, compile_cedar
from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.document import parse
from mcpguard.policy.rules import RuleSet

TOP = 'version = 1\nmode = "enforce"\nzone = "UTC"\n'
PERMIT = '@id("all") permit (principal, action, resource);'
NOBODY = Caller()
AROUND = Surroundings(home="/home/me", cwd="/srv", resolve=lambda path: path)


def file(text: str, more: str = "") -> bytes:
    return f"{TOP}engine = \"cedar\"\ncedar = '''\n{text}\n'''\n{more}".encode()


def ruleset(text: str, more: str = "") -> RuleSet:
    return parse(file(text, more), "p.toml")


def cedar(
    text: str, caller: Caller = NOBODY, around: Surroundings = AROUND, *, server: str = "s", more: str = ""
) -> CedarPolicy:
    return compile_cedar(ruleset(text, more), server, caller, around)


AS_RULES = (
    TOP
    + """
[roles]
coding = ["host:claude-code", "uid:7"]
[[label]]
tools = ["fetch"]
reads = ["untrusted"]
sends = ["external"]
[[rule]]
id = "read"
who = ["role:coding"]
grade = "G2"
server = "files"
tools = ["read_*"]
effect = "allow"
args.path = { under = ["/srv/src"] }
[[rule]]
id = "read-many"
server = "files"
tools = ["many"]
effect = "allow"
args."/paths/*" = { under = ["/srv/src"] }
[[rule]]
id = "office"
tools = ["deploy"]
effect = "allow"
when = { hours = "09:00-17:00", days = ["mon-fri"], after_not = ["untrusted"], session = ["local"] }
[[rule]]
id = "web"
tools = ["fetch"]
effect = "allow"
args.url = { hosts = ["python.org", "*.python.org"] }
args.limit = { type = "integer", maximum = 20, optional = true }
[[rule]]
id = "no-leaks"
tools = ["*"]
effect = "deny"
when = { sends = ["external"], after = ["private"] }
[[rule]]
id = "writes"
tools = ["write_*"]
effect = "ask"
confirm = "presence"
durable = true
[[rule]]
id = "write-log"
tools = ["write_log"]
effect = "allow"
[[rule]]
id = "never"
tools = ["*drop*"]
effect = "deny"
[[rule]]
id = "harmless"
tools = ["calm"]
effect = "allow"
when = { annotations = { readOnlyHint = true }, risk = ["low"] }
[[rule]]
id = "docs"
server = "d"
resources = ["file:///srv/**"]
prompts = ["sum*"]
effect = "ask"
[[rule]]
id = "here"
tools = ["build"]
effect = "allow"
when = { cwd = ["/srv"] }
[[rule]]
id = "unit"
tools = ["unit"]
effect = "allow"
unit = ["a.service"]
ancestor_not = ["bash"]
[[rule]]
id = "forms"
elicitation = { mode = ["form"] }
effect = "allow"
[[rule]]
id = "no-logging"
logging = true
extensions = ["bad/*"]
effect = "deny"
"""
)
CALL = 'action == Mcpguard::Action::"tools/call"'
AS_CEDAR = f"""
@id("read")
permit (principal in Mcpguard::Role::"coding", {CALL}, resource in Mcpguard::Server::"files")
when {{ principal.grade >= 2 && resource.name like "read_*" && context.paths.hasTag("path")
        && context.paths.getTag("path") in Mcpguard::Path::"/srv/src" }};
@id("read-many")
permit (principal, {CALL}, resource in Mcpguard::Server::"files")
when {{ resource.name == "many" }}
when {{ context.paths.hasTag("paths") && context.paths.getTag("paths") in Mcpguard::Path::"/srv/src" }};
@id("office")
permit (principal, {CALL}, resource) when {{ resource.name == "deploy" && context.hour >= 9 && context.hour < 17 }}
when {{ context.weekday < 5 && context.session.contains("local") }} unless {{ context.seen.contains("untrusted") }};
@id("web")
permit (principal, {CALL}, resource)
when {{ resource.name == "fetch" && context.sites.hasTag("url") && context.sites.getTag("url") in Mcpguard::Site::"python.org" }}
when {{ !context.args.hasTag("limit") || (context.numbers.hasTag("limit") && context.numbers.getTag("limit") <= 20) }};
@id("no-leaks")
forbid (principal, {CALL}, resource) when {{ resource.sends.contains("external") && context.seen.contains("private") }};
@id("writes") @ask @confirm("presence") @durable
permit (principal, {CALL}, resource) when {{ resource.name like "write_*" }};
@id("write-log")
permit (principal, {CALL}, resource) when {{ resource.name == "write_log" }};
@id("never")
forbid (principal, {CALL}, resource) when {{ resource.name like "*drop*" }};
@id("harmless")
permit (principal, {CALL}, resource) when {{ resource.name == "calm" && resource has annotations && resource has risk }}
when {{ resource.annotations.readOnlyHint && resource.risk == "low" }};
@id("docs") @ask
permit (principal, action in [Mcpguard::Action::"resources", Mcpguard::Action::"prompts/get"], resource in Mcpguard::Server::"d")
when {{ resource is Mcpguard::Resource && resource.name like "file:///srv/*"
        || resource is Mcpguard::Prompt && resource.name like "sum*" }};
@id("here")
permit (principal, {CALL}, resource)
when {{ resource.name == "build" && principal has cwd && principal.cwd in Mcpguard::Path::"/srv" }};
@id("unit")
permit (principal, {CALL}, resource)
when {{ resource.name == "unit" && principal has unit && principal.unit == "a.service" && principal has ancestors }}
unless {{ principal has ancestors && principal.ancestors.contains("bash") }};
@id("forms")
permit (principal, action == Mcpguard::Action::"elicitation/create", resource)
unless {{ context.args.hasTag("mode") && context.args.getTag("mode") != "form" }};
@id("no-logging")
forbid (principal, action in [Mcpguard::Action::"logging", Mcpguard::Action::"extension"], resource)
when {{ resource is Mcpguard::Server || resource.name like "bad/*" }};
"""
AROUND_BOTH = """
[roles]
coding = ["host:claude-code", "uid:7"]
[[label]]
tools = ["fetch"]
reads = ["untrusted"]
sends = ["external"]
"""
