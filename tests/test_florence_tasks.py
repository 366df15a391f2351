"""The task table against Microsoft's, and what a task refuses."""

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import assume, given
from hypothesis import strategies as st

from handler.florence import answers, tasks
from handler.florence.errors import TaskInputError, UnknownTask
from handler.florence.tasks import Answer, Input
from handler.florence.tokenizer import APPENDED, Tokenizer

KINDS = {
    "pure_text": Answer.TEXT,
    "description_with_bboxes": Answer.LABELLED_BOXES,
    "bboxes": Answer.BOXES,
    "phrase_grounding": Answer.PHRASES,
    "polygons": Answer.POLYGONS,
    "description_with_bboxes_or_polygons": Answer.BOXES_OR_POLYGONS,
    "ocr": Answer.QUADS,
}
REGION = "<loc_1><loc_22><loc_333><loc_999>"


def test_the_table_is_microsofts(refdata: Path) -> None:
    tables = json.loads((refdata / "florence2_vectors" / "task_tables.json").read_text())
    kinds = tables["tasks_answer_post_processing_type"]
    assert {task.token: task.answer for task in tasks.TASKS} == {token: KINDS[kind] for token, kind in kinds.items()}
    without, with_input = tables["task_prompts_without_inputs"], tables["task_prompts_with_input"]
    assert {task.token: task.prompt for task in tasks.TASKS} == without | with_input
    assert {task.token for task in tasks.TASKS if task.input is Input.NONE} == without.keys()
    assert {task.token for task in tasks.TASKS if task.input is Input.REGION} == {
        token for token in with_input if token.startswith("<REGION_TO_")
    }
    assert len(tasks.TASKS) == 15


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_a_place_is_what_an_answer_is_read_by(task: tasks.Task) -> None:
    """As many locations as a place has make one object, one fewer none."""
    place = task.answer.place
    assert (place == 0) == (task.answer in (Answer.TEXT, Answer.POLYGONS, Answer.BOXES_OR_POLYGONS))
    for missing, found in ((0, 1), (1, 0)) if place else ():
        text = "star" + "".join(f"<loc_{10 * i + 100}>" for i in range(place - missing))
        assert len(answers.parse(task, text, (100, 100)).objects) == found


def test_prompts_as_upstream_builds_them(refdata: Path) -> None:
    """Upstream takes token and input in one string and passes any other sentence through; here they are apart."""
    folder = refdata / "florence2_vectors"
    pairs = [
        tuple(pair) for pair in json.loads((folder / "transformersjs_processor.json").read_text())["construct_prompts"]
    ]
    for vector in json.loads((folder / "transformers_processing.json").read_text()):
        if vector["call"] == "_construct_prompts":
            inputs = vector["input"] if isinstance(vector["input"], list) else [vector["input"]]
            pairs += zip(inputs, vector["expected"], strict=True)
    asked = 0
    for text, expected in pairs:
        token, _, value = text.partition(">")
        if token.startswith("<"):
            assert tasks.find(token + ">").ask(value) == expected
            asked += 1
        else:
            assert text == expected
    assert asked == 6


def test_tasks_are_found_by_name_and_by_token() -> None:
    assert tasks.find("caption") is tasks.find("<CAPTION>")
    assert len({task.name for task in tasks.TASKS}) == len({task.token for task in tasks.TASKS}) == len(tasks.TASKS)
    for unknown in ("", "Caption", "<caption>", "segment"):
        with pytest.raises(UnknownTask, match=r"there are caption, detailed-caption, .*read-regions"):
            tasks.find(unknown)


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_an_input_is_there_if_and_only_if_it_is_wanted(task: tasks.Task) -> None:
    if task.input is Input.NONE:
        assert task.ask() == task.ask("") == task.ask("  ") == task.prompt
        assert "{" not in task.prompt
        with pytest.raises(TaskInputError, match=f"{task.name} takes no input"):
            task.ask("a cat")
        return
    value = REGION if task.input is Input.REGION else "a {input} cat"
    assert task.ask(f" {value} ") == task.prompt.replace("{input}", value)
    for missing in (None, "", " \n"):
        with pytest.raises(TaskInputError, match=f"{task.name} needs a {task.input}"):
            task.ask(missing)


@pytest.mark.parametrize(
    "region",
    [
        "a cat",
        "<loc_1><loc_2><loc_3>",
        f"{REGION}<loc_1>",
        f"x{REGION}",
        "<loc_1> <loc_2><loc_3><loc_4>",
        "<loc_1><loc_2><loc_3><loc_1000>",
        "<loc_01><loc_2><loc_3><loc_4>",
        "<loc_-1><loc_2><loc_3><loc_4>",
        "<loc_\u0663><loc_2><loc_3><loc_4>",  # an Arabic three
        f"<loc_1><loc_2><loc_3><loc_{'9' * 5000}>",  # `int` refuses more than 4,300 digits
    ],
)
def test_a_region_is_four_locations(region: str) -> None:
    with pytest.raises(TaskInputError, match="four location tokens"):
        tasks.find("region-category").ask(region)


@pytest.mark.parametrize("name", [task.name for task in tasks.TASKS if task.input is Input.TEXT])
def test_text_may_not_spell_a_token(name: str) -> None:
    task = tasks.find(name)
    for token in ("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<image>", *APPENDED):
        with pytest.raises(TaskInputError, match="must not hold tokens"):
            task.ask(f"a {token} cat")
    for harmless in ("x < y > z", "<b>bold</b>", "<CAPTION>", "loc_1", "<loc_>"):
        assert harmless in task.ask(harmless)


@given(
    parts=st.lists(st.sampled_from(["<", ">", "/", "s", "<s", "pad>", "<mask", "<loc_", "12", "sep>", " "]), max_size=6)
)
def test_no_accepted_text_reaches_the_model_as_a_token(library: tokenizers.Tokenizer, parts: list[str]) -> None:
    value = "".join(parts)
    assume(value.strip())
    try:
        prompt = tasks.find("ground").ask(value)
    except TaskInputError:
        return
    ids = Tokenizer(library).encode(prompt)
    assert not set(ids[1:-1]) & set(library.get_added_tokens_decoder())
