"""What has to be the same for the rows of two tries to be of one kind: the YAML, and the parents.

A child's rows are of one generation of its parent's partition: staged beside rows of another one,
some would be there twice, and some not at all.
"""

from pipeline.config.source import Source


def fingerprint(source: Source, endpoint: str, parents: str = "") -> str:
    """A digest: rows that were staged under another one are not gone on with.

    :param parents: of a child: the generation of the parent's partition.
    """
    yaml = source.definition(endpoint)
    return f"{yaml}-{parents}" if parents else yaml


def of_this_yaml(found: str, source: Source, endpoint: str) -> bool:
    """Whether a definition is of the YAML as it is now, whatever the parents were."""
    return found.partition("-")[0] == source.definition(endpoint)
