"""`template.yaml`: what the function may and may not do, who gets in, and that the parts fit each other."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_plus

import boto3
import pytest
import template
from moto import mock_aws
from moto.iam.access_control import IAMPolicy, PermissionResult

from handler import settings, telemetry

UPLOADS = f"arn:aws:s3:::florence-lambda-uploads-{template.ACCOUNT}-{template.REGION}"
RESULTS = f"arn:aws:s3:::florence-lambda-results-{template.ACCOUNT}-{template.REGION}"

MAY = (
    ("s3:GetObject", f"{UPLOADS}/photo.jpg"),
    ("s3:GetObjectVersion", f"{UPLOADS}/a/b.png"),
    ("s3:PutObject", f"{UPLOADS}/uploads/x"),  # through the addresses it signs
    ("s3:GetObject", f"{RESULTS}/results/x.json"),
    ("s3:PutObject", f"{RESULTS}/results/x.json"),
    ("s3:ListBucket", UPLOADS),
    ("s3:ListBucket", RESULTS),
)
MAY_NOT = (
    ("s3:PutObject", f"{UPLOADS}/photo.jpg"),
    ("s3:PutObject", f"{RESULTS}/batch/manifest.csv"),
    ("s3:GetObject", f"{RESULTS}/batch/manifest.csv"),
    ("s3:DeleteObject", f"{UPLOADS}/photo.jpg"),
    ("s3:DeleteObject", f"{RESULTS}/results/x.json"),
    ("s3:DeleteObjectVersion", f"{UPLOADS}/photo.jpg"),
    ("s3:PutObjectAcl", f"{RESULTS}/results/x.json"),
    ("s3:PutObjectTagging", f"{UPLOADS}/photo.jpg"),
    ("s3:PutBucketPolicy", UPLOADS),
    ("s3:PutBucketNotification", UPLOADS),
    ("s3:DeleteBucket", RESULTS),
    ("s3:ListAllMyBuckets", "*"),
    ("s3:GetObject", "arn:aws:s3:::another-bucket/photo.jpg"),
    ("s3:ListBucket", "arn:aws:s3:::another-bucket"),
    ("sqs:SendMessage", "{queue}"),
    ("sqs:PurgeQueue", "{queue}"),
    ("sqs:ReceiveMessage", "{dead}"),
    ("sqs:ReceiveMessage", f"arn:aws:sqs:{template.REGION}:{template.ACCOUNT}:another"),
    ("logs:CreateLogGroup", "*"),
    ("logs:PutLogEvents", f"arn:aws:logs:{template.REGION}:{template.ACCOUNT}:log-group:another"),
    ("lambda:InvokeFunction", template.FUNCTION),
    ("lambda:UpdateFunctionCode", template.FUNCTION),
    ("iam:PassRole", "*"),
    ("sts:AssumeRole", "*"),
    ("kms:Decrypt", "*"),
    ("ecr:GetDownloadUrlForLayer", "*"),
    ("secretsmanager:GetSecretValue", "*"),
)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", template.REGION)
    with mock_aws():
        yield


def allowed(resources: dict[str, dict[str, Any]], action: str, resource: str) -> bool:
    """Whether the function's role permits it, by moto's reading of IAM's rules."""
    documents = [policy["PolicyDocument"] for policy in resources["FlorenceRole"]["Policies"]]
    if "SourcesPolicy" in resources:
        documents.append(resources["SourcesPolicy"]["PolicyDocument"])
    policies = [IAMPolicy(json.dumps(document)) for document in documents]
    return any(policy.is_action_permitted(action, resource) is PermissionResult.PERMITTED for policy in policies)


def test_the_role_may_do_its_work_and_nothing_else(aws: None) -> None:
    resources = template.resolve()
    queue = resources["Florence"]["Events"]["Pictures"]["Properties"]["Queue"]
    dead = resources["Pictures"]["RedrivePolicy"]["deadLetterTargetArn"]
    for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"):
        assert allowed(resources, action, queue)
    for action, resource in MAY:
        assert allowed(resources, action, resource), (action, resource)
    for action, resource in MAY_NOT:
        assert not allowed(resources, action, resource.format(queue=queue, dead=dead)), (action, resource)


def test_the_role_names_what_it_is_about(aws: None) -> None:
    resources = template.resolve(SourceBuckets="first,second", Tags="1")
    roles = [*resources["FlorenceRole"]["Policies"], *resources["BatchRole"]["Policies"], resources["SourcesPolicy"]]
    for statement in (each for policy in roles for each in policy["PolicyDocument"]["Statement"]):
        actions, named = (
            [each] if isinstance(each, str) else each for each in (statement["Action"], statement["Resource"])
        )
        assert all("*" not in action for action in actions), statement
        assert all(resource.count("*") == resource.endswith("/*") for resource in named), statement


def test_source_buckets_may_be_read_and_not_written(aws: None) -> None:
    resources = template.resolve(SourceBuckets="first,second")
    for bucket in ("first", "second"):
        assert allowed(resources, "s3:GetObject", f"arn:aws:s3:::{bucket}/photo.jpg")
        assert allowed(resources, "s3:ListBucket", f"arn:aws:s3:::{bucket}")
        assert not allowed(resources, "s3:PutObject", f"arn:aws:s3:::{bucket}/photo.jpg")
        assert not allowed(resources, "s3:PutObjectTagging", f"arn:aws:s3:::{bucket}/photo.jpg")
    assert not allowed(resources, "s3:GetObject", "arn:aws:s3:::third/photo.jpg")


def test_tags_are_written_where_that_is_asked_for(aws: None) -> None:
    resources = template.resolve(SourceBuckets="first", Tags="1")
    for bucket in (UPLOADS, "arn:aws:s3:::first"):
        assert allowed(resources, "s3:PutObjectTagging", f"{bucket}/photo.jpg")
        assert allowed(resources, "s3:GetObjectVersionTagging", f"{bucket}/photo.jpg")


@pytest.mark.parametrize(
    ("parameters", "security"),
    [
        ({}, [{"iam": []}]),
        ({"Authorization": "jwt", "JwtIssuer": "https://x/", "JwtAudience": "me,you"}, [{"jwt": []}]),
        ({"Authorization": "open"}, []),
    ],
    ids=["iam, unless told otherwise", "jwt", "open"],
)
def test_who_gets_in(aws: None, parameters: dict[str, str], security: list[dict[str, Any]]) -> None:
    definition = template.resolve(**parameters)["Api"]["DefinitionBody"]
    assert len(definition["paths"]) == 2
    for methods in definition["paths"].values():
        assert [method["security"] for method in methods.values()] == [security]
    schemes = definition["components"]["securitySchemes"]
    assert schemes["iam"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    if security == [{"jwt": []}]:
        tokens = schemes["jwt"]["x-amazon-apigateway-authorizer"]["jwtConfiguration"]
        assert tokens == {"issuer": "https://x/", "audience": ["me", "you"]}


def test_the_api_calls_the_alias_and_is_throttled_and_logged(aws: None) -> None:
    resources = template.resolve(RequestsPerSecond="7")
    for methods in resources["Api"]["DefinitionBody"]["paths"].values():
        for method in methods.values():
            assert f"{template.FUNCTION}:live/invocations" in method["x-amazon-apigateway-integration"]["uri"]
    assert resources["ApiPermission"]["FunctionName"] == f"{template.FUNCTION}:live"
    assert resources["Florence"]["AutoPublishAlias"] == "live"
    assert resources["Api"]["DefaultRouteSettings"] == {"ThrottlingRateLimit": 7, "ThrottlingBurstLimit": 7}
    line = json.loads(resources["Api"]["AccessLogSettings"]["Format"])
    assert "$context.requestId" in line.values()


@pytest.mark.parametrize("bucket", ["Uploads", "Results"])
def test_buckets_are_private_encrypted_and_tls_alone(aws: None, bucket: str) -> None:
    resources = template.resolve()
    found = resources[bucket]
    assert set(found["PublicAccessBlockConfiguration"].values()) == {True}
    assert found["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = found["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    policy = resources[f"{bucket}Policy"]
    assert policy["Bucket"] == found["BucketName"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    arn = f"arn:aws:s3:::{found['BucketName']}"
    assert statement["Resource"] == [arn, f"{arn}/*"]


def test_results_expire_where_that_is_asked_for(aws: None) -> None:
    rules = template.resolve(ResultDays="30")["Results"]["LifecycleConfiguration"]["Rules"]
    assert {"Status": "Enabled", "ExpirationInDays": 30} in rules


@pytest.mark.parametrize(("asked", "given"), [("on", "PublishedVersions"), ("off", "None")])
def test_published_versions_start_from_a_snapshot(aws: None, asked: str, given: str) -> None:
    assert template.resolve(SnapStart=asked)["Florence"]["SnapStart"] == {"ApplyOn": given}


def test_the_function_is_as_large_as_it_is_told_to_be(aws: None) -> None:
    function = template.resolve(Memory="1769", Timeout="120", ReservedConcurrency="7")["Florence"]
    assert (function["PackageType"], function["MemorySize"], str(function["Timeout"])) == ("Image", 1769, "120")
    assert function["ReservedConcurrentExecutions"] == 7


def test_without_a_reserve_the_accounts_limit_holds(aws: None) -> None:
    assert not template.resolve()["Florence"].get("ReservedConcurrentExecutions")


def test_the_queue_is_worked_on_by_so_many_at_once_and_tells_which_messages_failed(aws: None) -> None:
    resources = template.resolve(QueueConcurrency="4")
    source = resources["Florence"]["Events"]["Pictures"]["Properties"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": 4}
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_what_is_uploaded_through_the_api_expires_and_nothing_else(aws: None) -> None:
    resources = template.resolve()
    rules = resources["Uploads"]["LifecycleConfiguration"]["Rules"]
    (expiring,) = (rule for rule in rules if "ExpirationInDays" in rule)
    assert expiring["Prefix"] == "uploads/"
    assert expiring["ExpirationInDays"] * 86400 == resources["Pictures"]["MessageRetentionPeriod"]


def test_a_page_of_any_origin_may_upload_and_not_read(aws: None) -> None:
    (rule,) = template.resolve()["Uploads"]["CorsConfiguration"]["CorsRules"]
    assert rule == {"AllowedMethods": ["PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}


def test_a_picture_in_the_bucket_is_a_message_in_the_queue(aws: None) -> None:
    uploads = template.resolve()["Uploads"]
    bucket, configured = uploads["BucketName"], uploads["NotificationConfiguration"]["QueueConfigurations"]
    template.notify(boto3.client("s3"), bucket, configured)
    boto3.client("s3").put_object(Bucket=bucket, Key="holiday/a b.jpg", Body=b"x")
    sqs = boto3.client("sqs")
    (address,) = (url for url in sqs.list_queues()["QueueUrls"] if "Pictures" in url)
    messages = sqs.receive_message(QueueUrl=address, MaxNumberOfMessages=10)["Messages"]
    bodies = [json.loads(message["Body"]) for message in messages]
    (record,) = (record for body in bodies for record in body.get("Records", []))  # beside S3's test event
    assert unquote_plus(record["s3"]["object"]["key"]) == "holiday/a b.jpg"


def test_only_the_uploads_bucket_may_write_to_the_queue(aws: None) -> None:
    (statement,) = template.resolve()["PicturesPolicy"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": template.ACCOUNT},
        "ArnEquals": {"aws:SourceArn": UPLOADS},
    }


def test_messages_are_hidden_for_six_times_the_timeout() -> None:
    whole = template.load()
    timeouts = whole["Parameters"]["Timeout"]["AllowedValues"]
    hidden = whole["Mappings"]["Timeouts"]
    assert {timeout: each["Hidden"] for timeout, each in hidden.items()} == {each: 6 * int(each) for each in timeouts}


LEFT_TO_THEIR_DEFAULTS = {"FLORENCE_", "FLORENCE_ARTIFACT", "FLORENCE_THREADS", "FLORENCE_CACHE_MB"}


def test_the_settings_are_those_the_code_reads(aws: None) -> None:
    given = template.resolve(SourceBuckets="first,second", Tags="1", StorageTasks="caption")["Florence"]["Environment"]
    names = {name for name in vars(settings).values() if isinstance(name, str) and name.startswith("FLORENCE_")}
    assert set(given["Variables"]) == names - LEFT_TO_THEIR_DEFAULTS
    read = settings.load(given["Variables"]).storage
    assert read.source_buckets == ("first", "second")
    assert [task.name for task in read.tasks] == ["caption"]
    assert (read.tags, read.preview) == (True, False)


def test_what_is_watched(aws: None) -> None:
    resources = template.resolve(AlarmEmail="me@example.org")
    alarms = {each["MetricName"]: each for each in resources.values() if "AlarmDescription" in each}
    assert set(alarms) == {
        "Errors",
        "Throttles",
        "5xx",
        "Latency",
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
    }
    assert all(len(alarm["AlarmActions"]) == 1 for alarm in alarms.values())
    assert alarms["Latency"]["ExtendedStatistic"] == "p95"
    dead = resources["Pictures"]["RedrivePolicy"]["deadLetterTargetArn"].split(":")[-1]
    assert alarms["ApproximateNumberOfMessagesVisible"]["Dimensions"] == [{"Name": "QueueName", "Value": dead}]
    widgets = json.loads(resources["Dashboard"]["DashboardBody"])["widgets"]
    ours = [each for each in widgets if each["properties"]["metrics"][0][0] == telemetry.NAMESPACE]
    shown = {metric[1] for widget in ours for metric in widget["properties"]["metrics"]}
    stages = {f"{stage}Milliseconds" for stage in ("Image", "Vision", "Encoder", "Decoder")}
    assert shown - stages == {
        *(telemetry.PICTURES, telemetry.TRUNCATED, telemetry.REFUSED, telemetry.GONE, telemetry.FAILED),
        *(telemetry.OWN_RESULTS, *telemetry.STARTS.values()),
    }
    assert stages <= shown
