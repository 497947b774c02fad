"""The operators' tests on the device."""

from xml.etree import ElementTree

from .commands import CheckError

# On a GPU all but the tests of the CPU's engine alone, of compilation for
# another GPU, and the one that runs triton_cases.py in a process of its own. On
# the CPU, where run_tests.sh runs them all, a few.
TESTS = {
    "cuda": [
        "tests/ops",
        "tests/ops/triton_cases.py",
        "--ignore-glob=*/test_cpu_*",
        "-k",
        "not compiles and not test_kernels_match_the_reference",
    ],
    "cpu": ["tests/ops/test_causal_conv1d.py"],
}
# Most of the time on a GPU is that of Triton's compiler: some 350 kernels.
PROCESSES = ["--numprocesses=auto", "--maxprocesses=8"]
# Of a failed test's message in the record
KEPT = 500


def operator_parts(commands):
    """Return the one part, the operators' tests."""
    return {"tests": lambda: check_tests(commands)}


def check_tests(commands):
    """Run the tests; return how many passed.

    Raises
    ------
    CheckError
        If one fails, with the messages of all that do.
    """
    report = commands.scratch / "operators.xml"
    # -v: if the process dies, the last line names the test.
    options = ["-v", "--device", commands.device, "--junit-xml", report]
    options += [*PROCESSES, "-p", "no:cacheprovider"]
    try:
        commands.python("-m", "pytest", *TESTS[commands.device], *options)
    except CheckError as error:
        found = read_report(report) if report.exists() else {}
        raise CheckError(str(error), found) from None
    return read_report(report)


def read_report(path):
    """Return the counts of a JUnit report, and why tests failed, by name."""
    cases = list(ElementTree.parse(path).iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    failed = {
        f"{case.get('classname')}::{case.get('name')}": fault.get("message")
        for case in cases
        for fault in case
        if fault.tag in ("failure", "error")
    }
    return {
        "passed": len(cases) - len(skipped) - len(failed),
        "skipped": len(skipped),
        "failed": {name: why[:KEPT] for name, why in failed.items()},
    }
