"""The admission process: an HTTP shell around pure functions, one module per webhook.

A review goes in, a response comes out, and nothing else happens: no call to the API server, no write, no value in any
response, log or exception. Whatever goes wrong ends in a denial.
"""
