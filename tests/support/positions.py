"""A position as a later attempt gets it: through the text of a checkpoint."""

import json

from pipeline.extract.position import ResumePosition, position_from_json


def as_stored(position: ResumePosition) -> ResumePosition:
    """What comes back is the same."""
    back = position_from_json(json.loads(json.dumps(position.to_json())))
    assert back == position
    return back
