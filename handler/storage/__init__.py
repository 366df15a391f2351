"""Pictures in buckets: events of storage in, results in another bucket out; uploads and buckets' addresses for the API.

`events` reads every form of event, `objects` reads pictures, `documents` is the results' form, `results` keeps them,
`work` does one picture, `delivery` one event. For the API, `uploads` lends places in a bucket, and `addresses` reads
what requests name as `s3://`. boto3 is imported when a bucket is first used: the local server runs without it.
"""
