# Verifies deliveries, given as JSON on standard input, with the published library.
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def good(d):
    try:
        Webhook(d["secret"]).verify(d["body"], d["headers"])
        return True
    except WebhookVerificationError:
        return False


print(json.dumps([good(d) for d in json.load(sys.stdin)]))
