"""moto's server on the loopback: S3 and a queue, for what calls AWS from another process."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
PICTURES, RESULTS, UPLOADS = "my-pictures", "my-results", "my-uploads"


@dataclass
class Aws:
    """Three buckets; the queue hears of each new object in the pictures and the uploads."""

    address: str
    s3: Any
    sqs: Any
    queue: str

    def received(self) -> list[dict[str, Any]]:
        """Waiting messages, as Lambda's poller hands them to a function."""
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        return [
            {
                "messageId": each["MessageId"],
                "receiptHandle": each["ReceiptHandle"],
                "body": each["Body"],
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:pictures",
                "awsRegion": REGION,
            }
            for each in found
        ]

    def result(self, key: str) -> Any:
        """The latest result about one of the pictures."""
        body = self.s3.get_object(Bucket=RESULTS, Key=f"results/{PICTURES}/{key}/latest.json")["Body"].read()
        return json.loads(body)


@contextmanager
def account() -> Iterator[Aws]:
    """The server, while the block runs."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": REGION}
    s3, sqs = (boto3.client(name, endpoint_url=address, **keys) for name in ("s3", "sqs"))
    urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", b"")).close()  # of an earlier server
    try:
        for bucket in (PICTURES, RESULTS, UPLOADS):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        queue = sqs.create_queue(QueueName="pictures")["QueueUrl"]
        notification = {"QueueArn": f"arn:aws:sqs:{REGION}:123456789012:pictures", "Events": ["s3:ObjectCreated:*"]}
        for bucket in (PICTURES, UPLOADS):
            s3.put_bucket_notification_configuration(
                Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [notification]}
            )
        yield Aws(address, s3, sqs, queue)
    finally:
        server.stop()
