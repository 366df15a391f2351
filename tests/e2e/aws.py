"""AWS's stand-in: moto's server on a network that reaches nothing else, the template's buckets, queues and role in it,
and every call held to IAM's rules.
"""

import ast
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import template

from .engine import docker


@dataclass(frozen=True)
class Aws:
    """The stack, deployed."""

    network: str  # of Docker's
    address: str
    administrator: dict[str, str]  # credentials, as boto3 names them
    role: dict[str, str]  # the function's

    def client(self, service: str) -> Any:
        """For who may do everything."""
        return _client(service, self.address, self.administrator)

    def function_environment(self) -> dict[str, str]:
        """What Lambda would give the function, and where its calls go here."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": self.role["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.role["aws_secret_access_key"],
            "AWS_SESSION_TOKEN": self.role["aws_session_token"],
        }

    @contextmanager
    def lenient(self) -> Iterator[None]:
        """IAM's rules do not hold: moto's cannot read the signature of a signed address."""
        _hold_rules_after(self.address, "inf")
        try:
            yield
        finally:
            _hold_rules_after(self.address, "0")

    def queue(self, name: str) -> str:
        """The address of one of the stack's queues."""
        (address,) = (url for url in self.client("sqs").list_queues()["QueueUrls"] if f"-{name}-" in url)
        return str(address)


@contextmanager
def deployed(log: Path, **parameters: str) -> Iterator[Aws]:
    """The template with these parameters, as far as moto knows its resources."""
    network = f"florence-{uuid4().hex[:8]}"
    docker("network", "create", "--internal", network)
    server = None
    try:
        gateway = docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network)
        with socket.create_server((gateway, 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "--host", gateway, "--port", str(port)]
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output)
        _wait(gateway, port)
        address = f"http://{gateway}:{port}"
        yield Aws(network, address, *_deploy(address, parameters))
    finally:
        if server:
            server.terminate()
            server.wait(timeout=30)
        docker("network", "rm", network)


def _deploy(address: str, parameters: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the credentials of an administrator and of the function's role."""
    anyone = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    iam, s3 = _client("iam", address, anyone), _client("s3", address, anyone)
    template.deploy(_client("cloudformation", address, anyone), **parameters)
    queue = next(url for url in _client("sqs", address, anyone).list_queues()["QueueUrls"] if "-Pictures-" in url)
    arn = f"arn:aws:sqs:{template.REGION}:{template.ACCOUNT}:{queue.split('/')[-1]}"
    uploads = template.load()["Resources"]["Uploads"]["Properties"]
    bucket = next(each["Name"] for each in s3.list_buckets()["Buckets"] if "-uploads-" in each["Name"])
    configurations = uploads["NotificationConfiguration"]["QueueConfigurations"]
    template.notify(s3, bucket, [configuration | {"Queue": arn} for configuration in configurations])

    role = next(each for each in iam.list_roles()["Roles"] if "FlorenceRole" in each["RoleName"])
    document = iam.get_role_policy(RoleName=role["RoleName"], PolicyName="florence")["PolicyDocument"]
    # moto's CloudFormation keeps an inline policy as Python's text of it, which its IAM cannot read.
    policy = json.dumps(ast.literal_eval(document) if isinstance(document, str) else document)
    iam.put_role_policy(RoleName=role["RoleName"], PolicyName="florence", PolicyDocument=policy)
    lent = _client("sts", address, anyone).assume_role(RoleArn=role["Arn"], RoleSessionName="florence")["Credentials"]

    iam.create_user(UserName="administrator")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="administrator", PolicyName="all", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName="administrator")["AccessKey"]
    _hold_rules_after(address, "0")
    return (
        {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]},
        {
            "aws_access_key_id": lent["AccessKeyId"],
            "aws_secret_access_key": lent["SecretAccessKey"],
            "aws_session_token": lent["SessionToken"],
        },
    )


def _hold_rules_after(address: str, calls: str) -> None:
    body, kind = calls.encode(), {"content-type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset-auth", body, kind)).close()


def _client(service: str, address: str, credentials: dict[str, str]) -> Any:
    return boto3.client(service, template.REGION, endpoint_url=address, **credentials)


def _wait(host: str, port: int) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection((host, port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
