"""Tuning as a whole: what is refused before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescorer_lab.errors import LabError
from rescorer_lab.evaluation.asking import Index
from rescorer_lab.inputs import Judged
from rescorer_lab.inputs.topics import Topic
from rescorer_lab.tuning import story
from rescorer_lab.tuning.story import Wishes


def test_too_few_topics_are_told_before_minutes_of_scoring(tmp_path: Path) -> None:
    """Halves are parted by the ids, so they are known at once; no search is made and no file is written."""
    topics = {name: Topic(id=name, text=name) for name in map(str, range(19))}
    judged = Judged(topics=topics, qrels={name: {"d": 1} for name in topics}, name="few")
    index = Index(name="i", engine="opensearch", form=None, said={}, depth=100)
    with pytest.raises(LabError, match=r"^of 19 topics \d+ are to tune on and \d+ to report on"):
        story.make_pools(None, index, Wishes(first_stage="bm25"), judged, tmp_path / "out", lambda count: None)
    assert not (tmp_path / "out").exists()
