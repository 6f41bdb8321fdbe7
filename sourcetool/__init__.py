"""For writing a source: look at an API through its YAML, or propose the YAML of an API.

Each command is a module. ``check``: ``probe`` fetches a few pages as a run would, ``findings`` and
``bounds`` judge what came (each finding with its remedy), ``show`` prints it; ``children`` asks
for some of what the parents' rows named. ``new``: ``new_request`` is what is sent, and what the
YAML says of it without ``credentials``, with parameters from ``query``; ``fetch`` bounds the
response, ``infer`` reads it (and ``times`` how times are written in it), and the YAML is proposed.
Of AWS, ``aws_new`` makes an endpoint of an operation's model, and ``aws_check`` looks into a few
lanes. ``import_source``: the YAML from a document of others, by ``importers``; ``catalogue``: how
much of a folder of manifests these can say. ``reference``: every key of the YAML, with
``reference_examples``. ``deployment``: whether all sources load, what the response cache holds, and
which sweeps are recorded. This package imports ``assets``, ``resources`` and ``pipeline``; nothing
imports it.
"""
