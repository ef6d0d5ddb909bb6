"""Holds a folder that `pipeline export` wrote against the profiles of RO-Crate, with the validator of their authors.

    python tests/parity/ro_crate.py DIR [--recommended]

Prints which requirements do not hold, and fails where one of severity REQUIRED does not. Takes minutes. Without a network the two JSON-LD contexts come from the package `rocrate` and from the few
terms below. Needs `roc-validator` and `rocrate`; see requirements.txt.
"""

import importlib.resources
import json
import sys

CRATE = "https://w3id.org/ro/crate/1.1/context"
RUNS = "https://w3id.org/ro/terms/workflow-run/context"
# What a bundle uses of the terms of workflow runs beyond those of RO-Crate.
RUN_TERMS = {"@context": {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}}
# It stands on those of workflow and process runs, of workflows and of RO-Crate, which are looked at with it.
PROFILE = "provenance-run-crate-0.5"


def serve_contexts():
    """Lets rdflib have both contexts from here."""
    from rdflib.plugins.shared.jsonld import context, util

    text = importlib.resources.files("rocrate").joinpath("data/ro-crate.jsonld").read_text()
    # The package has the context of RO-Crate 1.3, where terms of Bioschemas have moved since 1.1.
    text = text.replace("https://bioschemas.org/terms/", "https://bioschemas.org/")
    local = {CRATE: json.loads(text), RUNS: RUN_TERMS}
    original = util.source_to_json

    def from_here(source, *more, **named):
        name = source if isinstance(source, str) else getattr(source, "file", None) or getattr(source, "system_id", None)
        if str(name) in local:
            return local[str(name)], None
        return original(source, *more, **named)

    util.source_to_json = context.source_to_json = from_here
    import requests
    from rocrate_validator.utils import document_loader, http

    document_loader._original_source_to_json = from_here
    document_loader._patched_source_to_json = from_here

    def get(self, url, **named):
        if url not in local:
            return requests.get(url, **named)
        answer = requests.Response()
        answer.status_code, answer.url = 200, url
        answer.headers["Content-Type"] = "application/ld+json"
        answer._content = json.dumps(local[url]).encode()
        return answer

    http.HttpRequester.get = get


def main():
    serve_contexts()
    from rocrate_validator import models, services

    folder = sys.argv[1]
    settings = services.ValidationSettings(
        rocrate_uri=folder,
        profile_identifier=PROFILE,
        requirement_severity=models.Severity.RECOMMENDED if "--recommended" in sys.argv else models.Severity.REQUIRED,
        abort_on_first=False,
    )
    result = services.validate(settings)
    required = 0
    found = {}
    for issue in result.get_issues(models.Severity.OPTIONAL):
        about = getattr(issue, "violatingEntity", None) or ""
        found.setdefault((issue.severity.name, issue.check.identifier, issue.message), []).append(str(about))
        required += issue.severity == models.Severity.REQUIRED
    for (severity, check, message), places in sorted(found.items()):
        print(f"{severity:12} {check}: {message} ({len(places)}, such as {places[0]})")
    print(f"{PROFILE}: {len(result.executed_checks)} checks, {required} of severity REQUIRED do not hold")
    sys.exit(1 if required else 0)


main()
