"""The engine: from a source's YAML to committed Parquet on S3. Nothing here imports Dagster.

Read the modules in the order in which data flows: ``spec`` (what an API is), ``window`` (which
interval of the cursor a partition asks for), ``paging`` and ``proof`` (which requests, and why no
row lies between two of them), ``budget`` (when a request may go), ``client`` (the only sender),
``extract`` (concurrent pages, in order), ``arrow`` (JSON bytes to record batches), ``parquet``,
``store`` (S3), ``commit`` (staged parts to a manifest), ``run`` (one partition of one endpoint).
"""
