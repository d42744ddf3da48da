"""The models of docs/models.md by task. `forward` takes a batch's fields by name and gives the slots that the task
ends with."""
from .errors import FormatError
from .fusion import Aligner, Answerer
from .places import Detector, Grounder, MaskedImage
from .texts import Language, MaskedText
from .towers import Captioner, Classifier, Coca, TwoTowers


TASKS = {"contrastive": TwoTowers, "classify": Classifier, "caption": Captioner, "coca": Coca, "masked_image": MaskedImage,
         "masked_text": MaskedText, "answer": Answerer, "align": Aligner, "detect": Detector, "ground": Grounder,
         "language": Language}


def model_of(config):
    """A model of the config's task, its parameters not yet set."""
    task = config.get("task", "contrastive")
    if task not in TASKS:
        raise FormatError("task", f"must be one of {', '.join(TASKS)}, found {task!r}. A task of another program has its own "
                                  "model")
    return TASKS[task](config)
