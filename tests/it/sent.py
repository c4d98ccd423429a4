"""What botocore sends: one JSON object a line on standard input, one answer a line on standard output.

`forms`: {"operation", "parameters"} of EC2 -> the pairs of the form, sorted.
`signatures`: {"method", "url", "headers", "body", "service", "region", "key", "secret", "token", "time", "unsigned"}
-> the headers that the signed request has."""

import base64
import datetime
import json
import sys

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.serialize import create_serializer


def forms():
    model = botocore.session.get_session().get_service_model("ec2")
    serializer = create_serializer("ec2", include_validation=False)
    for line in sys.stdin:
        call = json.loads(line)
        operation = model.operation_model(call["operation"])
        body = serializer.serialize_to_request(call["parameters"], operation)["body"]
        yield sorted([name, str(value)] for name, value in body.items())


def signatures():
    for line in sys.stdin:
        it = json.loads(line)
        moment = datetime.datetime.strptime(it["time"], "%Y-%m-%dT%H:%M:%SZ")
        botocore.auth.get_current_datetime = lambda moment=moment: moment
        credentials = Credentials(it["key"], it["secret"], it["token"])
        request = AWSRequest(method=it["method"], url=it["url"], data=base64.b64decode(it["body"]))
        for name, value in it["headers"]:
            request.headers.add_header(name, value)
        if it["unsigned"]:
            request.context["payload_signing_enabled"] = False
        kind = botocore.auth.S3SigV4Auth if it["service"] == "s3" else botocore.auth.SigV4Auth
        kind(credentials, it["service"], it["region"]).add_auth(request)
        yield {name.lower(): value for name, value in request.headers.items()}


for answer in {"forms": forms, "signatures": signatures}[sys.argv[1]]():
    print(json.dumps(answer))
