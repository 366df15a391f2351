"""What each question asks and makes of the answers, without a model and without the web."""

from typing import Any

import pytest
from fakes import FakePredictor
from images import encoded, noise

from handler import questions, schemas
from handler.florence.errors import TaskInputError, UnknownTask
from handler.florence.tasks import TASKS
from handler.questions import MAX_CLASSES, Detail, Question
from handler.serialise import Cut

PNG = encoded(noise((200, 100)), "PNG")


def answer(question: Question) -> Any:
    predictor = FakePredictor()
    return question.answer(predictor.manifest, predictor.predict(PNG, question.asks))


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        (questions.caption(Detail.DETAILED), schemas.CaptionAnswer),
        (questions.detect(), schemas.ObjectsAnswer),
        (questions.analyze(), schemas.AnalyzeAnswer),
        (questions.classify(), schemas.ClassifyAnswer),
        (questions.ground("a dog"), schemas.ObjectsAnswer),
        (questions.segment("a dog", None), schemas.ObjectsAnswer),
        (questions.segment(None, "1,1,9,9"), schemas.ObjectsAnswer),
        (questions.read(), schemas.ReadAnswer),
        (questions.task("detect"), schemas.TaskAnswer),
    ],
    ids=lambda value: value.task.name if isinstance(value, Question) else value.__name__,
)
def test_each_question_has_its_answer(question: Question, kind: type[schemas.Answer]) -> None:
    made = answer(question)
    assert type(made) is kind
    assert made.model.artifact == "0" * 64
    assert kind.model_validate_json(made.model_dump_json(exclude_none=True)) == made


@pytest.mark.parametrize(
    "cut",
    [Cut(), Cut(min_score=0.5), Cut(max_objects=1), Cut(min_score=1), Cut(min_score=0.1, max_objects=5)],
    ids=str,
)
def test_every_question_about_objects_cuts_them_alike(cut: Cut) -> None:
    def places(made: Any) -> list[Any]:
        return [(found.score, found.box) for found in made.objects]

    expected = places(answer(questions.detect(cut=cut)))
    assert len(expected) == {0.0: 2, 0.1: 2, 0.5: 1, 1: 0}[cut.min_score] - (cut.max_objects == 1)
    for question in (questions.analyze(cut=cut), questions.ground("a", cut), questions.task("detect", cut=cut)):
        assert places(answer(question)) == expected


def test_of_several_classes_the_surest_are_kept() -> None:
    found = answer(questions.detect(["a", "b"], Cut(max_objects=2))).objects
    assert [(each.label, each.score) for each in found] == [("a", 0.9877), ("b", 0.9877)]


def test_a_class_that_is_not_there_has_score_0() -> None:
    class Blind(FakePredictor):
        def predict(self, *arguments: Any, **named: Any) -> Any:
            result = super().predict(*arguments, **named)
            return type(result)(**{**vars(result), "predictions": tuple(map(without, result.predictions))})

    def without(prediction: Any) -> Any:
        return (
            prediction if prediction.task.name == "detect" else type(prediction)(**{**vars(prediction), "objects": ()})
        )

    question, predictor = questions.classify(["a", "b"]), Blind()
    made: Any = question.answer(predictor.manifest, predictor.predict(PNG, question.asks))
    assert [(each.label, each.score, each.count) for each in made.labels] == [("a", 0, 0), ("b", 0, 0)]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: questions.ground(None), "ground needs a text"),
        (lambda: questions.ground(" "), "ground needs a text"),
        (lambda: questions.ground("a</s>"), "must not hold tokens"),
        (lambda: questions.detect(["<loc_1>"]), "must not hold tokens"),
        (lambda: questions.detect([str(number) for number in range(MAX_CLASSES + 1)]), "At most 32 classes"),
        (lambda: questions.segment(None, None), "a text or a region"),
        (lambda: questions.segment("a", "1,1,2,2"), "a text or a region"),
        (lambda: questions.segment(None, "1,1"), "four numbers"),
        (lambda: questions.task("caption", "a"), "takes no input"),
        (lambda: questions.task("sing"), "no task 'sing'"),
    ],
)
def test_what_cannot_be_asked_is_refused_without_an_image(make: Any, error: str) -> None:
    with pytest.raises((TaskInputError, UnknownTask), match=error):
        make()


def test_every_task_can_be_asked() -> None:
    inputs = {"none": (None, None), "text": ("a dog", None), "region": (None, "1,1,9,9")}
    for task in TASKS:
        assert answer(questions.task(task.name, *inputs[task.input])).task == task.name
