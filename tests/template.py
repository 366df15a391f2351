"""`template.yaml` for tests: its plain resources deployed to moto, all of it resolved for given parameters."""

import json
from typing import Any

import boto3
import yaml
from conftest import ROOT
from moto.backends import get_backend
from moto.cloudformation.parsing import clean_json
from moto.cloudformation.utils import yaml_tag_constructor

REGION, ACCOUNT = "us-east-1", "123456789012"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:florence"
DEPLOYED = {  # what moto makes of a template
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
}
# What SAM would make; moto knows no transforms.
_STAND_INS = {
    '{"Ref": "Florence.Alias"}': f'"{FUNCTION}:live"',
    '{"Ref": "Florence"}': '"florence"',
    '{"Ref": "Api"}': '"api"',
    "${Florence.Arn}": FUNCTION,
    "${Florence}": "florence",
    "${Api}": "api",
}


class _Loader(yaml.SafeLoader):
    """With CloudFormation's tags."""


_Loader.add_multi_constructor("", yaml_tag_constructor)


def load() -> dict[str, Any]:
    """The template, with stand-ins for what SAM's transform makes."""
    text = json.dumps(yaml.load((ROOT / "template.yaml").read_text(), _Loader))
    for name, stand_in in _STAND_INS.items():
        text = text.replace(name, stand_in)
    template: dict[str, Any] = json.loads(text)
    return template


def deploy(client: Any, **parameters: str) -> None:
    """Makes the plain resources, through a CloudFormation client of moto's."""
    template = load()
    plain = {name: each for name, each in template["Resources"].items() if each["Type"] in DEPLOYED}
    kept = {part: template[part] for part in ("AWSTemplateFormatVersion", "Parameters", "Mappings", "Conditions")}
    client.create_stack(
        StackName="florence",
        TemplateBody=json.dumps(kept | {"Resources": plain}),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )


def notify(client: Any, bucket: str, configurations: list[dict[str, str]]) -> None:
    """Gives the bucket its notifications, which moto's CloudFormation leaves out, through an S3 client."""
    queues = [{"QueueArn": each["Queue"], "Events": [each["Event"]]} for each in configurations]
    client.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": queues}
    )


def resolve(**parameters: str) -> dict[str, dict[str, Any]]:
    """Every resource that these parameters make -> its properties. Within `moto.mock_aws`."""
    deploy(boto3.client("cloudformation", REGION), **parameters)
    (stack,) = get_backend("cloudformation")[ACCOUNT][REGION].stacks.values()
    return {
        name: clean_json(each["Properties"], stack.resource_map)
        for name, each in load()["Resources"].items()
        if "Condition" not in each or clean_json({"Fn::If": [each["Condition"], True, False]}, stack.resource_map)
    }
