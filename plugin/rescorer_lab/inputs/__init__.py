"""What an evaluation is given: topics, qrels and runs, from TREC files, BEIR folders, JSONL, CSV and TSV.

:func:`judged` is the one entry for topics with their judgments; :func:`rescorer_lab.inputs.runs.read` reads a run.
Every reader says by path and line what is wrong with a file, reads ``.gz`` as well, and holds no more than its result.
"""

from rescorer_lab.inputs.qrels import Qrels
from rescorer_lab.inputs.sources import Judged, judged, read_qrels, read_topics
from rescorer_lab.inputs.topics import Topic

__all__ = ["Judged", "Qrels", "Topic", "judged", "read_qrels", "read_topics"]
