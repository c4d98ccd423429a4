"""Holds calls against botocore's service models: one JSON object a line on standard input,
{"service", "operation", "parameters"}; prints what is wrong, and fails if anything is.

Beside botocore's own ParamValidator, which checks names, types and lengths, values are held
against the models' enumerations and patterns, which it does not check."""

import json
import re
import sys

import botocore.session
from botocore.validate import ParamValidator


def walk(shape, value, path, wrong):
    """Checks enumerations, patterns and upper bounds."""
    if shape.type_name == "structure":
        for name, member in value.items():
            walk(shape.members[name], member, f"{path}.{name}", wrong)
    elif shape.type_name == "list":
        for number, member in enumerate(value):
            walk(shape.member, member, f"{path}[{number}]", wrong)
    elif shape.type_name == "string":
        placeholder = value.startswith("${")
        if getattr(shape, "enum", None) and value not in shape.enum:
            wrong.append(f"{path}: {value!r} is none of {shape.enum}")
        pattern = shape.metadata.get("pattern")
        if pattern and not placeholder and not re.search(pattern, value):
            wrong.append(f"{path}: {value!r} does not match {pattern}")
        most = shape.metadata.get("max")
        if most is not None and len(value) > most:
            wrong.append(f"{path}: {len(value)} characters, at most {most}")
    elif shape.type_name in ("integer", "long"):
        most = shape.metadata.get("max")
        if most is not None and value > most:
            wrong.append(f"{path}: {value}, at most {most}")


def main():
    session = botocore.session.get_session()
    models = {}
    validator, failed, count = ParamValidator(), False, 0
    for line in sys.stdin:
        call = json.loads(line)
        service = call["service"]
        if service not in models:
            models[service] = session.get_service_model(service)
        shape = models[service].operation_model(call["operation"]).input_shape
        parameters = call["parameters"]
        wrong = []
        report = validator.validate(parameters, shape)
        if report.has_errors():
            wrong.append(report.generate_report())
        else:
            walk(shape, parameters, call["operation"], wrong)
        for text in wrong:
            failed = True
            print(f"{call['operation']}: {text}\n  {json.dumps(parameters)}")
        count += 1
    print(f"{count} calls")
    sys.exit(failed)


main()
