"""Who may do what in the S3 server of the tests, beside its owner."""

from local.services import Identity

READER = Identity.reader("reader-key", "reader-secret-of-s3")
