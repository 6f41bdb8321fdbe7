"""AWS as botocore's data describes it: services, operations, regions, errors.

Pure: nothing here sends a request, or knows of lanes. ``service_models`` finds an operation by its
name, and whether it only reads; ``row_columns`` makes declared columns of a response's shape;
``wire`` makes an HTTP request of an operation and its parameters, and JSON of the response;
``regions`` knows the regions, and the fixed one of global services; ``error_codes`` says what an
error of AWS means for the lane that it came in, and ``rates`` how many requests AWS takes.

A *lane* is an account in a region: what is read, limited, and fails by itself.
"""
