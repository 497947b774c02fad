"""The operators' tests on the device."""

from xml.etree import ElementTree

from .commands import CheckError

# Of the CPU's engine alone
LEFT_OUT = "test_cpu_*"


def check_operators(commands):
    """Run the operators' tests; return how many passed and which did not."""
    report = commands.scratch / "operators.xml"
    options = ["-q", "--device", commands.device, "--junit-xml", report]
    options += ["--ignore-glob", f"*/{LEFT_OUT}", "-p", "no:cacheprovider"]
    faults = []
    try:
        commands.python("-m", "pytest", "tests/ops", *options)
    except CheckError as error:
        faults.append(str(error))
    found = read_report(report) if report.exists() else {}
    return {**found, "faults": faults}


def read_report(path):
    """Return the numbers of a JUnit report, and the tests that failed."""
    cases = list(ElementTree.parse(path).iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return {
        "passed": len(cases) - len(skipped) - len(failed),
        "skipped": len(skipped),
        "failed": failed,
    }
