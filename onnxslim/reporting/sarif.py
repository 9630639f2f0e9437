"""A verification as SARIF 2.1.0 (OASIS, 2020), which code scanning shows: a rule a check, a result where it did not pass.

Passes are no results: GitHub's code scanning reads no ``kind`` and shows an alert for whatever is listed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from onnxslim.reporting.figures import Report
from onnxslim.reporting.text import clean

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def render_sarif(report: Report) -> str:
    """The JSON of ``report``, a document of ``verify``; what cannot be told is a warning where that counts as a failure,
    else ``open``, SARIF's word for it.
    """
    found = report["verification"]
    rules = list(dict.fromkeys(_make_rule_id(check["name"]) for check in found["checks"]))
    path = report["output"]["path"] or "candidate.onnx"
    results = [
        {
            "ruleId": _make_rule_id(check["name"]),
            **_get_level(check["verdict"], found["inconclusive"]),
            "message": {"text": f"{clean(check['name'])}: {clean(check['message'])}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": _make_uri(path, check.get("model"))}}}],
            "properties": {name: check[name] for name in ("value", "interval", "limit")},
        }
        for check in found["checks"]
        if check["verdict"] != "pass"
    ]
    described = [{"id": rule, "name": rule, "shortDescription": {"text": rule.replace("-", " ")}} for rule in rules]
    driver = {"name": "onnxslim", "version": report["version"], "rules": described}
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _make_uri(path: str, model: str | None) -> str:
    """Of what was judged, or of the ``model`` in that folder: what is relative a reader resolves by its own root, an
    absolute path is a URI of its own.
    """
    place = path if model is None else os.path.join(path, *model.split("/"))
    return f"file://{quote(place)}" if os.path.isabs(place) else quote(place.replace(os.sep, "/"))


def _make_rule_id(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", clean(name)).strip("-")


def _get_level(verdict: str, inconclusive: str) -> Mapping[str, Any]:
    if verdict == "fail":
        return {"kind": "fail", "level": "error"}
    return {"kind": "fail", "level": "warning"} if inconclusive == "fail" else {"kind": "open", "level": "none"}
