// The tasks in words for people, in the order in which they are offered: GET /tasks tells which of them there are, and
// what each needs. A task that is missing here is offered under its own name.

export const BOTH = { name: "", title: "Caption and objects", hint: "A sentence and the objects, in one pass over the image.", input: "none" };

const GROUPS = {
  Describe: {
    "caption": ["Caption", "A sentence."],
    "detailed-caption": ["Detailed caption", "A few sentences."],
    "more-detailed-caption": ["Paragraph", "All that can be said of the image."],
  },
  Find: {
    "detect": ["Objects", "What has a name, and where it is."],
    "dense-region-caption": ["Objects, each described", "Where something is, and a few words on it."],
    "region-proposal": ["Regions of interest", "Where something is, without its name."],
    "ground": ["Phrases of a caption", "Where each thing is that a sentence names.", "Sentence", "a circle above a star"],
    "open-vocabulary-detection": ["Anything you name", "Where it is, whatever you call it.", "What to find", "a red circle"],
  },
  Outline: {
    "referring-segmentation": ["Outline of what you name", "Its outline, point by point.", "What to outline", "the red circle"],
    "region-segmentation": ["Outline of what is in a region", "The outline of the thing that you frame."],
  },
  "Look at a region": {
    "region-category": ["Category of a region", "What kind of thing you frame."],
    "region-description": ["Description of a region", "What you frame, in a few words."],
    "region-text": ["Text in a region", "The words that you frame."],
  },
  Read: {
    "read": ["Text", "All words in the image, in their order."],
    "read-regions": ["Text and where it stands", "Each piece of text with its four corners."],
  },
};

// [group's name, [task, …]] for each group, a task being { name, title, hint, input, answer, label, example }.
export function grouped(offered) {
  const left = new Map(offered.map((task) => [task.name, task]));
  const groups = Object.entries(GROUPS).map(([group, members]) => [group, Object.entries(members).flatMap(([name, words]) => {
    const task = left.get(name);
    left.delete(name);
    const [title, hint, label, example] = words;
    return task ? [{ name, title, hint, label, example, input: task.input, answer: task.answer }] : [];
  })]);
  const others = [...left.values()].map(({ name, prompt, input, answer }) => (
    { name, title: name, hint: prompt, label: "Text", example: "", input, answer }
  ));
  return [...groups, ["Others", others]].filter(([, tasks]) => tasks.length);
}
