"""Writes classes.json from the OCSF schema that PyPI's ocsf-json-schema ships. `pip install ocsf-json-schema==1.2.0` first."""

import json
import sys
from pathlib import Path

from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"
CLASSES = {
    "process_activity": ["host", "security_control"],
    "event_log_actvity": ["host"],
    "detection_finding": ["host", "security_control"],
    "authentication": ["host", "security_control"],
    "authorize_session": ["host", "security_control"],
    "entity_management": ["host"],
    "user_access": ["host", "security_control"],
    "application_lifecycle": ["host"],
    "api_activity": ["ai_operation", "host", "security_control"],
}
"""Classes that are used, and the profiles that events of them state."""


def bare(value):
    """Without what only people read."""
    if isinstance(value, dict):
        said = ("title", "description", "deprecated", "references")
        return {key: bare(each) for key, each in value.items() if key not in said or isinstance(each, dict)}
    return [bare(each) for each in value] if isinstance(value, list) else value


def main():
    """Write the file."""
    raw = get_ocsf_schema(version=VERSION)
    made = OcsfJsonSchemaEmbedded(raw)
    classes, objects = {}, {}
    for name, profiles in CLASSES.items():
        schema = bare(made.get_class_schema(class_name=name, profiles=profiles))
        for key, definition in schema.pop("$defs").items():
            if objects.setdefault(key, definition) != definition:
                sys.exit(f"{key} differs between classes")
        classes[str(raw["classes"][name]["uid"])] = {"profiles": profiles, "schema": schema}
    found = {"version": VERSION, "classes": classes, "$defs": objects}
    Path(__file__).with_name("classes.json").write_text(
        json.dumps(found, separators=(",", ":"), sort_keys=True) + "\n"
    )


if __name__ == "__main__":
    main()
