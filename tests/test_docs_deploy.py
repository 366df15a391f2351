"""docs/deploy.md against the template, AWS's own description of its calls, and the table of costs."""

import json
import re

import pytest
import template
from botocore import xform_name
from botocore.session import Session
from botocore.validate import ParamValidator
from conftest import ROOT
from test_docs_commands import commands

from benchmarks import costs

PAGE = (ROOT / "docs" / "deploy.md").read_text()
GLOBAL = {"query", "output", "cli-input-json"}  # options of every command of AWS's
ON_AWS = [command.split() for command in commands(PAGE) if command.startswith("aws ")]


@pytest.mark.parametrize("words", ON_AWS, ids=" ".join)
def test_every_command_of_aws_exists_with_its_options(words: list[str]) -> None:
    _, service, name = words[:3]
    if service == "s3":  # a layer of the command line's own
        assert name in ("cp", "rm")
        return
    model = Session().get_service_model(service)
    (operation,) = (each for each in model.operation_names if xform_name(each, "-") == name)
    known = {xform_name(member, "-") for member in model.operation_model(operation).input_shape.members}
    options = {word.removeprefix("--") for word in words if word.startswith("--")}
    assert options <= known | GLOBAL
    required = {xform_name(member, "-") for member in model.operation_model(operation).input_shape.required_members}
    assert required <= options or "cli-input-json" in options


def test_the_batch_job_is_one_that_s3_takes() -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    shape = Session().get_service_model("s3control").operation_model("CreateJob").input_shape
    report = ParamValidator().validate(json.loads(block) | {"ClientRequestToken": "the command line makes one"}, shape)
    assert not report.has_errors(), report.generate_report()


def test_every_parameter_is_in_the_table_with_its_default() -> None:
    table = {
        name: default
        for names, default in re.findall(r"^\| (`[A-Z].*?) \| .* \| (.*?) \|$", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    parameters = template.load()["Parameters"]
    assert list(table) == [name for name in table if name in parameters]
    assert set(table) == set(parameters)
    for name, default in table.items():
        stated = str(parameters[name].get("Default", ""))
        assert default.strip("`") == (stated or "none") or name in ("BaseImage", "Artifact"), name


def test_every_output_that_is_named_exists() -> None:
    outputs = {re.sub(r"(?<!^)([A-Z])", r"_\1", name).upper() for name in template.load()["Outputs"]}
    named = set(re.findall(r"\$([A-Z][A-Z_]+)", PAGE)) - {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    }
    assert named
    assert named <= outputs


def test_the_costs_are_those_of_the_measurements() -> None:
    assert costs.main(["--check"]) == 0, "make costs"


def test_a_million_captions_cost_what_the_price_list_says() -> None:
    """By hand, for 2 GB and half a second: 16.67 of work, 0.20 of requests, 1.00 of the API, 1.00 of logs."""
    assert 1e6 * costs.over_http(0.5, 2048) == pytest.approx(16.67 + 0.20 + 1.00 + 1.00, abs=0.01)
    # ... and through the bucket 20.00 to write, 1.20 to read, 0.48 for the queue, 0.02 of requests
    assert 1e6 * costs.through_the_bucket(0.5, 2048) == pytest.approx(
        16.67 + 20.00 + 1.20 + 0.48 + 0.02 + 1.00, abs=0.01
    )


def test_the_readme_states_what_was_measured() -> None:
    two_cores = json.loads(costs.MEASURED.read_text())["memory"]["3538"]
    said = " ".join((ROOT / "README.md").read_text().split())
    assert f"first answer (64 tokens) {two_cores['first_answer_seconds']:.1f} s after" in said
    assert f"in {two_cores['peak_megabytes']} MB of memory" in said
