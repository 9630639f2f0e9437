"""A verification as JUnit's XML, which CI servers show as tests: a case a check."""

from __future__ import annotations

from xml.etree import ElementTree

from onnxslim.reporting.figures import Report
from onnxslim.reporting.text import clean


def render_junit(report: Report) -> str:
    """The XML of ``report``, a document of ``verify``: what fails is a failure, and so is what cannot be told where that
    counts as one; else it is skipped.
    """
    found = report["verification"]
    checks, open_is_failure = found["checks"], found["inconclusive"] == "fail"
    failures = [check for check in checks if _fails(check["verdict"], open_is_failure)]
    skipped = [check for check in checks if check["verdict"] == "cannot tell" and not open_is_failure]
    counts = {"tests": len(checks), "failures": len(failures), "errors": 0, "skipped": len(skipped)}
    attributes = {"name": "onnxslim verify", **{name: str(count) for name, count in counts.items()}}
    root = ElementTree.Element("testsuites", attributes)
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    for check in checks:
        message = clean(check["message"])
        subject = check.get("model") or report["output"]["path"] or "candidate"
        case = ElementTree.SubElement(suite, "testcase", {"classname": clean(subject), "name": clean(check["name"])})
        if check in failures:
            ElementTree.SubElement(case, "failure", {"type": check["verdict"], "message": message})
        elif check in skipped:
            ElementTree.SubElement(case, "skipped", {"message": message})
        else:
            ElementTree.SubElement(case, "system-out").text = message
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _fails(verdict: str, open_is_failure: bool) -> bool:
    return verdict == "fail" or (verdict == "cannot tell" and open_is_failure)
