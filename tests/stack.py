"""What stands around the function on AWS: buckets behind a proxy, a queue whose failures come again, dead letters."""

import json
from dataclasses import dataclass
from typing import Any

from aws import PICTURES, RESULTS, Aws
from fakes import FakePredictor
from faults import Proxy

from handler.settings import Storage
from handler.storage import results
from handler.storage.delivery import deliver

STORAGE = Storage(results_bucket=RESULTS)
MINUTE = 60_000  # milliseconds


@dataclass
class Stack:
    """The account, the proxy that the function sees of it, and its queues."""

    aws: Aws
    proxy: Proxy
    dead: str

    def put(self, key: str, body: bytes) -> str:
        """Its ETag."""
        tag: str = self.aws.s3.put_object(Bucket=PICTURES, Key=key, Body=body)["ETag"]
        return tag.strip('"')

    def work(self, predictor: FakePredictor) -> list[dict[str, Any]]:
        """Takes messages until none is left, as Lambda's poller does: what failed comes again. The dead ones."""
        while received := self.aws.received():
            failed = self.deliver(received, predictor)
            done = [each for each in received if each["messageId"] not in failed]
            for each in done:
                self.aws.sqs.delete_message(QueueUrl=self.aws.queue, ReceiptHandle=each["receiptHandle"])
        return self.taken(self.dead)

    def deliver(self, messages: list[dict[str, Any]], predictor: FakePredictor) -> set[str]:
        """The messages that failed."""
        report = deliver({"Records": messages}, predictor, STORAGE, MINUTE)
        return {each["itemIdentifier"] for each in report["batchItemFailures"]}

    def taken(self, queue: str) -> list[dict[str, Any]]:
        """All messages of a queue, which is empty then."""
        found: list[dict[str, Any]] = []
        while more := self.aws.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for each in more:
                self.aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
            found += more
        return found

    def results(self, key: str) -> dict[str, Any]:
        """All results about one key, by the ends of their names."""
        folder = results.folder(PICTURES, key)
        listed = self.aws.s3.list_objects_v2(Bucket=RESULTS, Prefix=folder).get("Contents", [])
        read = {each["Key"]: self.aws.s3.get_object(Bucket=RESULTS, Key=each["Key"])["Body"].read() for each in listed}
        return {name.removeprefix(folder): json.loads(body) for name, body in read.items()}
