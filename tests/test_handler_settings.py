"""The environment is read once, and what cannot be used is refused in a sentence."""

from pathlib import Path

import pytest

from handler import settings
from handler.settings import Settings, SettingsError, load


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    return tmp_path


def test_the_miniature_is_the_default(root: Path) -> None:
    assert load({"PATH": "/bin"}) == Settings(root / "models" / "mini", None)


def test_a_built_artifact_comes_before_the_miniature(root: Path) -> None:
    (root / "artifacts" / "current").mkdir(parents=True)
    assert load({}).artifact == root / "artifacts" / "current"


def test_values_are_taken(tmp_path: Path) -> None:
    assert load({"FLORENCE_ARTIFACT": str(tmp_path), "FLORENCE_THREADS": "3"}) == Settings(tmp_path, 3)


def test_the_cache_is_in_megabytes() -> None:
    assert load({"FLORENCE_CACHE_MB": "3"}).cache_bytes == 3_000_000
    assert load({"FLORENCE_CACHE_MB": "0"}).cache_bytes == 0
    for value in ("-1", "4097", "much", "1.5"):
        with pytest.raises(SettingsError, match="FLORENCE_CACHE_MB must be a whole number from 0 to 4096"):
            load({"FLORENCE_CACHE_MB": value})


def test_empty_values_count_as_not_set(root: Path) -> None:
    assert load({"FLORENCE_ARTIFACT": "", "FLORENCE_THREADS": ""}) == load({})


@pytest.mark.parametrize("threads", ["0", "-1", "257", "two", "1.5", " 2"])
def test_threads_out_of_range_are_refused(threads: str) -> None:
    with pytest.raises(SettingsError, match="FLORENCE_THREADS must be a whole number from 1 to 256"):
        load({"FLORENCE_THREADS": threads})


def test_an_artifact_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"FLORENCE_ARTIFACT .* is no folder"):
        load({"FLORENCE_ARTIFACT": str(tmp_path / "missing")})


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="no setting FLORENCE_THREAD; there are FLORENCE_ARTIFACT, "):
        load({"FLORENCE_THREAD": "2"})


def test_every_setting_is_documented() -> None:
    assert all(f"`{name}`" in (settings.__doc__ or "") for name in settings._NAMES)


def test_storage_is_off_by_default() -> None:
    storage = load({}).storage
    assert (storage.results_bucket, storage.uploads_bucket, storage.source_buckets) == ("", "", ())
    assert [task.name for task in storage.tasks] == ["caption", "detect"]
    assert not storage.tags
    assert not storage.preview


def test_storage() -> None:
    storage = load(
        {
            "FLORENCE_RESULTS_BUCKET": "my-results",
            "FLORENCE_UPLOADS_BUCKET": "my.uploads",
            "FLORENCE_SOURCE_BUCKETS": "one-bucket, another-bucket,",
            "FLORENCE_STORAGE_TASKS": "<CAPTION>,read,caption",
            "FLORENCE_TAGS": "1",
            "FLORENCE_PREVIEW": "1",
        }
    ).storage
    assert (storage.results_bucket, storage.uploads_bucket) == ("my-results", "my.uploads")
    assert storage.source_buckets == ("one-bucket", "another-bucket")
    assert [task.name for task in storage.tasks] == ["caption", "read"]
    assert storage.tags
    assert storage.preview


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RESULTS_BUCKET": "s3://my-results"}, r"FLORENCE_RESULTS_BUCKET must name a bucket.*'s3://my-results'"),
        ({"RESULTS_BUCKET": "arn:aws:s3:::my-results"}, "neither ARN nor address"),
        ({"SOURCE_BUCKETS": "fine-bucket,Bad"}, "FLORENCE_SOURCE_BUCKETS must name a bucket.*'Bad'"),
        ({"UPLOADS_BUCKET": "my-uploads"}, "of no use without FLORENCE_RESULTS_BUCKET"),
        ({"UPLOADS_BUCKET": "one-bucket", "RESULTS_BUCKET": "one-bucket"}, "each result would be an upload"),
        ({"STORAGE_TASKS": "sing"}, "FLORENCE_STORAGE_TASKS: There is no task 'sing'"),
        ({"STORAGE_TASKS": "caption,ground"}, "the task ground needs an input"),
        ({"TAGS": "yes"}, "FLORENCE_TAGS must be 0 or 1, not 'yes'"),
        ({"PREVIEW": "2"}, "FLORENCE_PREVIEW must be 0 or 1"),
    ],
)
def test_storage_that_cannot_work_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load({f"FLORENCE_{name}": value for name, value in environment.items()})
