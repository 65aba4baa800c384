"""The admission process: an HTTP server around pure functions, one module per webhook.

A webhook turns a review into a response. It calls no API server and writes nothing, and no response, log line or
exception holds a value. Every failure denies the request.
"""
