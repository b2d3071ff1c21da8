"""Every bound of mcpguard: value, unit, reason or precedent.

A bound named here is a security limit: nothing that a host or a server sends may make the daemon hold more.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- the wire -------------------------------------------------------------------------------------------
LINE_BYTES: Final = 8 * MIB
"""Longest line, bytes without the LF. Below the 10 MiB at which TypeScript SDKs close the transport."""
DEPTH: Final = 64
"""Deepest nesting below `params` or `result` data; serde_json stops at 128, Python near 1,000."""
MEMBERS: Final = 4096
"""Members of one object."""
TOKENS: Final = 200_000
"""Values in one message: a walk of this size stays under 50 ms."""
KEY_CHARS: Final = 256
"""Longest object key, characters."""
ID_CHARS: Final = 256
"""Longest string id or progress token, characters."""
ID_MAX: Final = 2**53 - 1
"""Largest integer id: what every JSON stack reads alike."""
META_BYTES: Final = 8 * KIB
"""Largest `_meta` of a request, encoded bytes."""
CURSOR_CHARS: Final = 4096
"""Longest pagination cursor accepted from a server, characters."""
BATCH: Final = 256
"""Messages in one batch (revision 2025-03-26 only)."""
NAME_CHARS: Final = 128
"""Longest tool or prompt name, characters (MCP server/tools, Tool Names: 1 to 128)."""
URI_CHARS: Final = 8192
"""Longest resource URI, characters."""
BAD_SERVER_LINES: Final = 32
"""Lines of a server that are not messages before the connection is closed. Stray prints are common; floods
are not. Text that does not begin like a message (`{`, `[{`) does not count."""

# --- definitions ----------------------------------------------------------------------------------------
TOOLS: Final = 256
"""Tools that one server may define, over all pages."""
DESCRIPTION_CHARS: Final = 16 * KIB
"""Longest description of a definition, characters."""
SCHEMA_DEPTH: Final = 32
"""Deepest nesting of an input schema."""
SCHEMA_REFS: Final = 64
"""References in one schema; nested fan-out of references grows exponentially in validators."""
SCHEMA_BYTES: Final = 512 * KIB
"""Largest schema that arguments or results are held against, encoded bytes."""
SCHEMA_STEPS: Final = 20_000
"""Subschemas that a validator may meet for one level of a value, references followed, or paths through levels."""
LIST_PAGES: Final = 64
"""Pages of one listing."""
MODERN_TTL_MS: Final = 1000
"""`ttlMs` of lists in the modern era, milliseconds: a revoked tool is gone from caches after that."""

# --- correlation ----------------------------------------------------------------------------------------
PENDING: Final = 4096
"""Requests in flight, each direction, each connection."""
ANSWERED: Final = 1024
"""Cancelled or answered ids remembered so that a late answer is recognised as late."""
ROUNDS: Final = 8
"""`input_required` rounds of one call; SDK clients stop at 10."""
STATES: Final = 256
"""`requestState` values remembered for one connection."""
HELD: Final = 64
"""Requests that wait for a person on one connection."""
ASKED_BYTES: Final = 1 * MIB
"""Longest arguments that a person is asked about, encoded bytes: nobody reads more, and their digest takes 0.1 s."""
WATCHED: Final = 1024
"""Resources that a host watches on one connection, remembered for a server that crashes."""
TASKS: Final = 1024
"""Task ids remembered for one connection."""
DROP_RECORDS_PER_SECOND: Final = 50
"""Lines not forwarded that get a record of their own, each second, side and connection; of the rest, the number is
kept. A server that prints without end would fill the audit log, and with it stop every call."""
NOTICES_PER_SECOND: Final = 500
"""`list_changed` and `resources/updated` notifications let through a second."""

# --- daemon ---------------------------------------------------------------------------------------------
READ_BYTES: Final = 256 * KIB
"""Bytes taken by one read."""
LINGER_SECONDS: Final = 100e-6
"""After an event the daemon stays awake for so long if answers used to come within it (daemon.linger)."""
PIPE_BYTES: Final = 1 * MIB
"""Capacity of a pipe that was seen full; the most that an unprivileged user may ask for (pipe-max-size)."""
QUEUE_BYTES: Final = 4 * MIB
"""Bytes waiting for one side before the other side is no longer read."""
HELLO_BYTES: Final = 4 * MIB
"""Largest handshake of a shim: argv and environment are bounded by the kernel's ARG_MAX (2 MiB here)."""
HANDSHAKES: Final = 128
"""Shims that may be between connecting and being admitted at a time; the others wait for their turn."""
HELLO_SECONDS: Final = 10.0
"""Time for a shim to complete its handshake, seconds."""
CONTROL_BYTES: Final = 12 * MIB
"""Largest request or reply on admin.sock, bytes: the largest policy, escaped as a JSON string."""
SESSION_DESCRIPTORS: Final = 16
"""Descriptors that one session costs the daemon."""
RESERVED_DESCRIPTORS: Final = 100
"""Descriptors kept for the journal and admin.sock."""
IDLE_SECONDS: Final = 600.0
"""An on-demand daemon ends after this long without a connection."""
IDLE_LINE_SECONDS: Final = 30.0
"""A line that has begun must be completed within this time, or the connection is closed."""
RESTARTS: Final = 100
"""Most often that a policy may let a crashed server be started again, in the time that it says."""
BACKOFF_SECONDS: Final = 0.25
"""How long a server stays down after its first crash; doubled with each one that follows, up to 64 times."""
DOWN_SECONDS: Final = 2.0
"""A server whose output has ended has crashed if it ends itself within this time; else the connection is over."""
REPLAY_SECONDS: Final = 30.0
"""A server that was started again must have answered the handshake within this time."""

# --- shutdown -------------------------------------------------------------------------------------------
EOF_GRACE_SECONDS: Final = 1.4
"""After the host's end of file a server may take this long to exit by itself; SDK hosts kill after 2 s, and by then
SIGTERM and SIGKILL must have been tried."""
TERM_GRACE_SECONDS: Final = 0.3
"""From SIGTERM to SIGKILL. The most impatient host kills 0.5 s after its first signal."""
DRAIN_SECONDS: Final = 0.5
"""After a server's exit its remaining output is read for this long."""

# --- policy ---------------------------------------------------------------------------------------------
POLICY_BYTES: Final = 4 * MIB
"""Largest policy file."""
RULES: Final = 20_000
"""Rules in one policy."""
PATTERN_CHARS: Final = 256
"""Longest pattern in a rule."""
ARGUMENT_RULES: Final = 64
"""Arguments that one rule speaks of."""
FOLDER_CHARS: Final = 4096
"""Longest folder in a rule, characters; the longest path on Linux."""
ROLES: Final = 1024
"""Roles in one policy."""
LABEL_RULES: Final = 4096
"""`[[label]]` tables in one policy."""
CEDAR_CHARS: Final = 1 * MIB
"""Longest Cedar policies in one file, characters."""
CEDAR_POLICIES: Final = 1000
"""Cedar policies in one file: Cedar looks at each of them for each request."""
CEDAR_BRACKETS: Final = 32
"""Deepest brackets of one Cedar policy; its parser ends the process at 1,000 (cedarpy 4.12.2, 8 MiB of stack)."""
CEDAR_NESTING: Final = 256
"""Operators of one Cedar policy, which nest in each other at worst: Python reads 500 levels of JSON."""
CEDAR_VALUES: Final = 1024
"""Values in the arguments of a request that a Cedar policy looks at; a request with more is denied."""
CEDAR_STEPS: Final = 4096
"""Folders and domains that the paths and hosts of one request are in, all together; likewise."""
SNAPSHOT_NAMES: Final = 4096
"""Names whose decision a snapshot remembers; server-chosen, so bounded."""
TARGET_CHARS: Final = 256
"""Longest target of a method whose decision a snapshot remembers, characters: since URIs are long."""
SNAPSHOT_PLANS: Final = 512
"""Names of which a snapshot remembers what their decision depends on; others are looked up anew, in 0.1 ms."""
OUTCOMES: Final = 16
"""Decisions that a snapshot remembers for one name, by which of its conditions hold."""
METERS: Final = 65_536
"""Rates, concurrencies and budgets that are counted at a time; 30 MiB if all are in use."""
METERS_OF_ONE: Final = 1024
"""Those of them that belong to one limit of one rule, for one principal and server: names come from outside."""

# --- audit ----------------------------------------------------------------------------------------------
RECORD_BYTES: Final = 64 * KIB
"""Longest audit record, bytes with the LF."""
JOURNAL_BYTES: Final = 64 * MIB
"""A journal segment is closed and a new one begun at this size."""
AUDIT_BACKLOG_BYTES: Final = 4 * MIB
"""Records of answers that wait for a disk that cannot be written; beyond it the oldest are dropped and counted."""
SYNC_SECONDS: Final = 0.01
"""Records are synced this long after they were written, in the background, unless policy says `durable`."""
CHECKPOINT_RECORDS: Final = 256
"""A sync after so many records signs a checkpoint."""
CHECKPOINT_SECONDS: Final = 5.0
"""Records have a checkpoint at most this much later, seconds."""
AUDIT_RESERVE_BYTES: Final = 1 * MIB
"""Space kept on the disk for outcomes of calls that were let through before it was full."""
AUDIT_UNHASHED_BYTES: Final = 4 * MIB
"""Records that wait for the next sync to be put into the tree; beyond it they do not wait."""
KNOWN_SECRETS: Final = 512
"""Values that are known to be secrets, of all servers together; the automaton of all their forms takes some MiB."""
KNOWN_SECRET_BYTES: Final = 4 * KIB
"""Longest value that is known to be a secret, bytes; a private key in PEM takes 3.2 KiB."""
PASSING_SECRETS: Final = 128
"""Values that are known to be secrets for a while, such as tokens; 50 ms to make them ready, off the loop."""
SECRET_WORDS: Final = 20_000
"""Words of one text behind which a secret is looked for, 0.3 s at worst; what follows more is hidden whole."""
REDACTED_STREAM_BYTES: Final = 1 * MIB
"""Most of a stream that is kept because a secret in it has not ended, bytes."""
RECORDED_BYTES: Final = 16 * KIB
"""Longest arguments that a record keeps, bytes of their JSON; encrypted, in base64, they fit into `RECORD_BYTES`."""
RECORDED_LOOK_BYTES: Final = 256 * KIB
"""Longest arguments that are redacted to be kept, long texts cut, bytes of their JSON; of longer ones nothing is."""
ARGUMENT_KEYS: Final = 262_144
"""Records whose arguments can be read at a time: 10 MiB of keys; of a further one, the oldest is erased."""

# --- what runs ------------------------------------------------------------------------------------------
EXECUTABLE_BYTES: Final = 512 * MIB
"""Largest executable that is hashed."""
SHELF_FILES: Final = 64
"""Executables that the daemon keeps open under a lease, so that they need not be hashed at each start."""

# --- store ----------------------------------------------------------------------------------------------
TREE_FILES: Final = 100_000
"""Files, directories and links of one package tree; 150 npm packages are 5,000 to 20,000."""
TREE_BYTES: Final = 2048 * MIB
"""Content of one package tree, bytes: more than a second of hashing at each start."""
TREE_DEPTH: Final = 64
"""Deepest directory of a package tree; each level costs the walk one descriptor."""
LOCK_BYTES: Final = 16 * MIB
"""Largest lock file or resolver's report, bytes."""
LOCK_PACKAGES: Final = 5000
"""Packages in one lock file."""
INSTALL_SECONDS: Final = 600.0
"""Time for one run of npm or pip, seconds."""
INSTALLER_LINES: Final = 12
"""Last lines of npm or pip that an error repeats."""
COOL_DOWN_HOURS: Final = 72
"""Versions younger than this are pointed out: most malicious releases are found and withdrawn within it."""
BUNDLE_FILES: Final = 20_000
"""Members of one MCPB bundle."""
BUNDLE_BYTES: Final = 512 * MIB
"""Content of one MCPB bundle, unpacked, bytes."""
BUNDLE_RATIO: Final = 200
"""Unpacked to packed bytes of one member, beyond the first MiB; text reaches 20, zip bombs 1,000."""
SOURCE_BYTES: Final = 1 * MIB
"""Largest `server.json` or bundle manifest, bytes."""

# --- trust ----------------------------------------------------------------------------------------------
ENVELOPE_BYTES: Final = 256 * KIB
"""Largest signed envelope, bytes of its JSON."""
SIGNATURES: Final = 16
"""Signatures of one envelope; with `TRUST_KEYS`, a hostile one costs at most 0.7 s of verifying."""
SSHSIG_BYTES: Final = 4 * KIB
"""Largest SSHSIG signature, armour included, bytes; one of Ed25519 takes 330."""
KEY_TEXT_CHARS: Final = 4 * KIB
"""Longest text of one public key, characters."""
TRUST_KEYS: Final = 128
"""Public keys in one trust set."""
PUBLISHERS: Final = 128
"""Publishers in one trust set."""
PREFIX_CHARS: Final = 256
"""Longest prefix of manifest names, or longest namespace, characters."""
REVOKED: Final = 1024
"""Entries of one kind in a revocation list."""
SUBJECTS: Final = 1024
"""Subjects of one signed statement."""
CLOCK_SLACK_SECONDS: Final = 300
"""How far the clock may be below the latest moment ever seen before it counts as turned back, seconds."""

# --- manifest -------------------------------------------------------------------------------------------
MANIFEST_NAME_CHARS: Final = 200
"""Longest name of a server, characters; that of the public registry (server.schema.json)."""
MANIFEST_WORD_CHARS: Final = 32 * KIB
"""Longest argument, path or value of a variable in a manifest, characters; a quarter of what Linux passes on."""
MANIFEST_TITLE_CHARS: Final = 256
"""Longest name that a person reads in a manifest, characters."""
MANIFEST_ARGV: Final = 256
"""Arguments of one command."""
MANIFEST_VARIABLES: Final = 128
"""Variables of one kind in a manifest."""
MANIFEST_FILES: Final = 64
"""Executables and scripts that one manifest pins one by one."""

# --- circumstances --------------------------------------------------------------------------------------
INSTANCES: Final = 1024
"""Runs of hosts whose labels are remembered."""
PROJECT_BYTES: Final = 64 * KIB
"""Largest policy file of a project's folder."""
FOLDERS: Final = 32
"""Most folders whose own policies count; their texts fit into `MEMORY_BYTES`, escaped."""
MEMORY_BYTES: Final = 4 * MIB
"""What a daemon remembers of the one before, bytes."""
RECENT: Final = 512
"""Records that a console can look back at."""

# --- enrolled hosts -------------------------------------------------------------------------------------
ENROLLED_BYTES: Final = 1 * MIB
"""Largest list of enrolled hosts, bytes."""
ENROLLED_HOSTS: Final = 128
"""Hosts in that list."""
FORMER_DIGESTS: Final = 8
"""Digests that are remembered of a program after it was updated: releases that may still run."""

# --- probe ----------------------------------------------------------------------------------------------
PROBE_START_SECONDS: Final = 120.0
"""Time for the first answer of a server that is probed, seconds: a package runner downloads first."""
PROBE_ANSWER_SECONDS: Final = 20.0
"""Time for every other answer, seconds."""
PROBE_MODERN_SECONDS: Final = 10.0
"""Time for an answer to `server/discover`, seconds, after the other era was answered: what Python clients wait."""
PROBE_SETTLE_SECONDS: Final = 0.5
"""After the lists, so long is waited for a notice that they have changed: servers add tools after the handshake."""
PROBE_ROUNDS: Final = 3
"""Times that lists are read again because the server says that they have changed."""
PROBE_BYTES: Final = 32 * MIB
"""Bytes that a probed server may print, in one era."""
PROBE_REQUESTS: Final = 256
"""Requests of its own, and lines that are not messages, that a probed server may send, in one era."""
PROBE_STDERR_LINES: Final = 10
"""Last lines of a probed server's stderr that an error repeats."""
RESOURCES: Final = 4096
"""Resources that one server may list, over all pages."""

# --- registered servers ---------------------------------------------------------------------------------
SERVERS: Final = 1024
"""Registered servers."""
SERVER_NAME_CHARS: Final = 64
"""Longest name that a server is registered under, characters."""
DEFINITIONS_BYTES: Final = 4 * MIB
"""Definitions kept beside one manifest, bytes of their JSON; escaped, they fit into one request on admin.sock."""
OBSERVED: Final = 512
"""Definitions that differ from their pins and are kept for one server."""
OBSERVED_BYTES: Final = 3 * MIB
"""What those definitions may take, bytes of their JSON; of more than that only the digests are kept."""

# --- approvals ------------------------------------------------------------------------------------------
TICKETS: Final = 128
"""Questions that wait for people, of all hosts together."""
TICKETS_INSTANCE: Final = 16
"""Questions of one run of a host that wait: more than a person reads at a time."""
TICKETS_MINUTE: Final = 20
"""New questions of one run of a host in a minute: who is asked more often says yes without reading."""
TICKETS_BYTES: Final = 8 * MIB
"""Arguments of the questions that wait, encoded bytes, all hosts together."""
TICKETS_INSTANCE_BYTES: Final = 2 * MIB
"""Likewise, of one run of a host."""
TICKETS_CLOSED: Final = 256
"""Answered and expired questions that are remembered, without their arguments, to tell whoever answers late."""
ASKING: Final = 1024
"""Runs of hosts whose latest questions are counted."""
GRANT_SECONDS: Final = 300.0
"""A yes to one call that nobody used is void after this: the host gave up and may have turned to something else."""
GRANT_FOR_SECONDS: Final = 86_400.0
"""Longest time for which a yes can be given at once; beyond it, a rule says so in the policy."""
CHALLENGES: Final = 64
"""Challenges for presence that wait for an answer."""
CHALLENGE_SECONDS: Final = 120.0
"""Time to type a passphrase or to touch a key."""
TOUCH_KEYS: Final = 16
"""Security keys that are enrolled for presence."""
PASSPHRASE_BYTES: Final = 1024
"""Longest passphrase, UTF-8."""
GRANTS: Final = 1024
"""Yeses that hold; a further one displaces the oldest."""
BEFORE: Final = 128
"""Tools of whose last approved call the arguments are remembered, to show what is different in the next."""
BEFORE_BYTES: Final = 32 * KIB
"""Longest such arguments, encoded bytes."""
REASON_CHARS: Final = 500
"""Longest reason that a person gives for a no, characters."""

# --- configurations of hosts ----------------------------------------------------------------------------

CONFIG_BYTES: Final = 16 * MIB
"""Largest configuration of a host that is read: one host keeps its whole state beside its servers."""
CONFIG_COPIES: Final = 10
"""Copies that are kept of one configuration, as it was before mcpguard; some hosts write theirs all the time."""
TOML_CONFIG_BYTES: Final = 1 * MIB
"""Largest one in TOML, whose reader takes 3 us a byte."""
YAML_CONFIG_BYTES: Final = 128 * KIB
"""Largest one in YAML, whose reader takes 20 us a byte."""
YAML_CONFIG_VALUES: Final = 100_000
"""Values of one in YAML with each anchor counted wherever it is used: anchors of anchors make 9^9 of a short text."""
YAML_CONFIG_DEPTH: Final = 200
"""Brackets of one in YAML that are open at a time, since time grows with their square."""
CONFIG_DEPTH: Final = 64
"""Deepest nesting in which places are told; what is deeper is kept as it is."""

# --- export ---------------------------------------------------------------------------------------------
SINKS: Final = 16
"""Sinks that the audit log flows to."""
SINKS_BYTES: Final = 64 * KIB
"""Largest `export.toml`."""
BATCH_RECORDS: Final = 500
"""Records that a sink is given at a time, and so the most that it gets twice after a crash of the exporter."""
BATCH_BYTES: Final = 1 * MIB
"""Likewise, bytes of their lines; one record more may be in it."""
TRAIL: Final = 16
"""Ends of earlier batches that are remembered of a sink: a log whose end was lost is taken up at one of them."""
REPEAT_BYTES: Final = 8 * MIB
"""After a broken stream, so much of what went through it last is sent again: what a kernel holds for a receiver at
most (`tcp_rmem`, 6 MiB by default), and what the receiver may not have read."""
REPEAT_SECONDS: Final = 60.0
"""Likewise only what is younger than this: a receiver reads within it."""
SINK_SECONDS: Final = 15.0
"""Time for a connection, and for an answer, seconds."""
SINK_BACK_OFF_SECONDS: Final = 60.0
"""Longest time between two tries; the first comes after half a second."""
ANSWER_BYTES: Final = 64 * KIB
"""What is read of the answer of a sink, bytes."""
EXPORTER_BACK_OFF_SECONDS: Final = 60.0
"""Longest time after which an exporter that ended is started again."""
SERIES: Final = 1024
"""Label sets that one connection, and one answer to a scrape, counts apart; what is beyond is counted as `_other`."""
HTTP_BYTES: Final = 8 * KIB
"""Longest head of an HTTP request on admin.sock."""

# --- certificates ----------------------------------------------------------------------------------------
CERTIFICATE_NAMES: Final = 32
"""Names in one certificate."""
CERTIFICATE_URI_CHARS: Final = 2048
"""Longest URI in a certificate (SPIFFE-ID 2.3)."""
CERTIFICATES: Final = 4096
"""Certificates in the registry, those of the last `CERTIFICATE_KEPT_SECONDS` included."""
CERTIFICATE_BYTES: Final = 64 * KIB
"""Largest single certificate, DER."""
CHAIN_BYTES: Final = 1 * MIB
"""Largest file of certificates or revocation list that is read."""
CHAIN_CERTIFICATES: Final = 16
"""Certificates in one such file."""
LEAF_SECONDS: Final = 24 * 3600
"""How long a certificate holds if nobody says otherwise."""
LEAF_MOST_SECONDS: Final = 31 * 24 * 3600
"""Longest life of a certificate."""
LEAF_LEAST_SECONDS: Final = 60
"""Shortest life of a certificate."""
BACKDATED_SECONDS: Final = 300
"""A certificate holds from so long before it was made: clocks of other machines are behind."""
RENEWED_AT: Final = 2 / 3
"""Share of its life after which a certificate is renewed (step-ca, cert-manager and SPIRE: two thirds, or half)."""
CRL_SECONDS: Final = 48 * 3600
"""How long a revocation list counts; the next one comes after half of it."""
CERTIFICATE_KEPT_SECONDS: Final = 7 * 24 * 3600
"""How long a certificate stays in the registry after its end, for people who look back."""
# --- listeners beyond stdio -----------------------------------------------------------------------------
PRINCIPAL_CHARS: Final = 512
"""Longest name of a principal that a credential gives, characters after its kind."""
SERVE_BYTES: Final = 64 * KIB
"""Largest `serve.toml`."""
LISTENERS: Final = 16
"""Listeners of one daemon."""
RECHECK_SECONDS: Final = 10.0
"""Credentials of open connections are checked again so often, unless the listener says otherwise."""
PEER_CONNECTIONS: Final = 256
"""Connections of one listener."""
NETWORK_CONNECTIONS: Final = 128
"""Connections of one network of one listener."""
HANDSHAKE_SECONDS: Final = 10.0
"""Time for a TLS handshake, and for the first line of a raw connection."""
HEAD_SECONDS: Final = 10.0
"""Time for the head of an HTTP request, from its first byte."""
BODY_SECONDS: Final = 30.0
"""Time for the body of an HTTP request; 8 MiB take it at 280 KiB/s."""
KEEP_ALIVE_SECONDS: Final = 75.0
"""An HTTP connection without a request is closed after this; what nginx and Apache take or more."""
HEADER_BYTES: Final = 8 * KIB
"""Longest line of the head of an HTTP request; what most servers take."""
HEADERS: Final = 64
"""Fields of the head of an HTTP request."""
PEER_SESSIONS: Final = 64
"""Sessions of one credential at one listener; each has a server process."""
PEER_REQUESTS: Final = 256
"""Requests of one session that wait for their answer."""
SESSION_IDLE_SECONDS: Final = 1800.0
"""A legacy session without a request and without a stream ends after this; its peer begins another one."""
POOL_IDLE_SECONDS: Final = 120.0
"""The server behind modern requests of one credential ends after this time without one."""
STREAM_EVENTS: Final = 512
"""Events of one stream that are kept for a peer that comes back."""
STREAM_BYTES: Final = 16 * MIB
"""Likewise, bytes, all streams of one session together; nobody collects what is beyond, and the session ends."""
STREAMS: Final = 64
"""Finished streams of one session that a peer can still resume."""
KEEP_WARM_SECONDS: Final = 15.0
"""An event stream without an event gets a comment so often, so that nothing on the way takes it for dead."""
PROMPT_SECONDS: Final = 0.25
"""An answer that comes within this time is sent as JSON; after it an event stream begins."""
FAILURES: Final = 10
"""Wrong credentials of one network in a minute; one more, and it is kept away."""
LOCKOUT_SECONDS: Final = 30.0
"""How long a network is kept away at first; twice as long each time, up to `LOCKOUT_MOST_SECONDS`."""
LOCKOUT_MOST_SECONDS: Final = 900.0
"""Longest time for which a network is kept away, unless it goes on."""
NETWORKS: Final = 4096
"""Networks whose failures are remembered."""
PROVEN: Final = 4096
"""Credentials that have been right lately, so that a flood of wrong ones beside them does not keep them away."""
# --- remote servers -------------------------------------------------------------------------------------
REMOTE_CA_CHARS: Final = 64 * KIB
"""Longest list of CA certificates in a manifest, characters of PEM: a quarter of an envelope."""
REMOTE_PINS: Final = 16
"""Public keys that one remote server may have."""
REMOTE_NETWORKS: Final = 16
"""Networks that one remote server may be in."""
UNIX_PATH_BYTES: Final = 107
"""Longest path of a Unix socket, bytes (unix(7): 108 with its NUL)."""
REMOTE_CONNECT_SECONDS: Final = 10.0
"""Time to resolve a name, for a TCP connection, and for the TLS handshake, seconds each."""
REMOTE_FIRST_BYTE_SECONDS: Final = 600.0
"""Time until the head of the answer to a request, seconds: a server that answers in JSON works until then."""
REMOTE_BRIEF_SECONDS: Final = 30.0
"""Likewise for whatever a server need not work for: handshakes, notifications, answers, metadata."""
REMOTE_IDLE_SECONDS: Final = 300.0
"""Time between two pieces of a body; servers send comments to keep a stream alive, mostly every 15 to 30 s."""
REMOTE_HEADERS: Final = 64
"""Header fields of one answer."""
REMOTE_HEADER_BYTES: Final = 8 * KIB
"""Longest header field, and longest status line, of one answer."""
REMOTE_CALLS: Final = 256
"""Requests to one remote server that are on their way at a time; further ones wait."""
REMOTE_WAITING_BYTES: Final = 4 * MIB
"""Messages that wait to be sent to one remote server before the host is no longer read, bytes."""
REMOTE_TAIL_SECONDS: Final = 1.0
"""An event stream may stay open for this long after the answer that it was opened for."""
REMOTE_EVENTS: Final = 100_000
"""Events of one stream that was opened for one answer."""
SSE_LINE_BYTES: Final = 8 * MIB
"""Longest line, and most data, of one event: that of a message."""
SSE_CHATTER_BYTES: Final = 1 * MIB
"""Bytes of a stream between two events: comments, unknown fields, empty lines."""
SSE_ID_CHARS: Final = 1024
"""Longest id of an event that is remembered to resume at."""
SSE_RETRY_SECONDS: Final = 60.0
"""Longest time that a server may make us wait before a stream is resumed."""
REMOTE_RESUMES: Final = 5
"""Tries in a row to resume one stream that bring no event."""
SESSION_ID_CHARS: Final = 1024
"""Longest session id of a remote server."""
REMOTE_GOODBYE_SECONDS: Final = 2.0
"""Time for a remote server to be told that a session is over."""
# --- OAuth ----------------------------------------------------------------------------------------------
OAUTH_METADATA_BYTES: Final = 256 * KIB
"""Longest metadata, registration or token answer, bytes; the largest OpenID configurations take 10 KiB."""
OAUTH_URL_CHARS: Final = 2048
"""Longest URL in metadata, characters; browsers of old stop at 2,083."""
OAUTH_REDIRECT_CHARS: Final = 16 * KIB
"""Longest redirect that answers a login, characters: codes may be JWTs."""
OAUTH_TOKEN_CHARS: Final = 16 * KIB
"""Longest token, characters: more fits into the header of few servers."""
OAUTH_TOKEN_SECONDS: Final = 10 * 365 * 86_400.0
"""Longest life of a token that is believed, seconds."""
OAUTH_SCOPES: Final = 128
"""Scopes in one request or answer."""
OAUTH_SERVERS: Final = 16
"""Authorization servers that one remote server may name."""
OAUTH_CHALLENGE_CHARS: Final = 8 * KIB
"""Longest `WWW-Authenticate`, characters."""
OAUTH_CHALLENGES: Final = 16
"""Challenges in it."""
OAUTH_AHEAD_SECONDS: Final = 300.0
"""Tokens are refreshed at most so long before they expire, seconds."""
OAUTH_LOGIN_SECONDS: Final = 300.0
"""Time for a person to log in, seconds."""
OAUTH_LOGINS: Final = 8
"""Logins that wait for their answer at a time."""
OAUTH_STEP_UPS: Final = 2
"""Times that a server may ask for more scopes, or refuse what it was just given, before a call is given up."""
OAUTH_METADATA_SECONDS: Final = 600.0
"""So long the metadata of an authorization server is not fetched again, seconds."""
OAUTH_REFUSALS: Final = 128
"""Refusals in a row, of all calls to one server, after which none is sent again: many may be under way at once."""
# --- secrets --------------------------------------------------------------------------------------------
SECRET_LEAST: Final = 8
"""Shortest secret that is given to a server, bytes: a shorter one could not be told from other words of a log."""
SECRET_BYTES: Final = 64 * KIB
"""Longest secret, bytes."""
SECRETS: Final = 1024
"""Secrets in the vault, tokens of remote servers among them."""
VAULT_BYTES: Final = 8 * MIB
"""Largest file of the vault."""
SECRET_REF_CHARS: Final = 4096
"""Longest reference to a secret."""
SECRET_SECONDS: Final = 30.0
"""Time for a program that prints a secret, seconds: some of them ask a person first."""
BINDINGS: Final = 64
"""Servers that one secret is kept for."""
HANDLES: Final = 16
"""Handles of secrets in the arguments of one call."""
ROTATION_SECONDS: Final = 30.0
"""Time for calls in flight before a server is started again with another secret, seconds."""
