# A refresh token's life through requests-oauthlib. Prints what it saw as one JSON
# object.
import json, os
import jwt, requests
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

env = os.environ
answer = requests.get(env["ISSUER"] + "/.well-known/oauth-authorization-server")
answer.raise_for_status()
metadata = answer.json()
assert metadata["issuer"] == env["ISSUER"]

method, secret = env["AUTH_METHOD"], env.get("CLIENT_SECRET")
assert method in metadata["token_endpoint_auth_methods_supported"]
assert method in metadata["revocation_endpoint_auth_methods_supported"]
client = BackendApplicationClient(env["CLIENT_ID"])
session = OAuth2Session(client=client)
auth, shown = None, {"client_id": env["CLIENT_ID"]}
if method == "client_secret_basic":
    auth, shown = HTTPBasicAuth(env["CLIENT_ID"], secret), {}
if method == "client_secret_post":
    shown["client_secret"] = secret


def refresh(scope=None, **options):
    session.scope = scope
    return session.refresh_token(metadata["token_endpoint"], refresh_token=env["REFRESH_TOKEN"], auth=auth, **shown, **options)


def introspect(token):
    form, who = dict(shown, token=token), auth
    if method == "none":  # a public client cannot introspect: somebody else does
        form, who = {"token": token}, HTTPBasicAuth(env["CALLER_CODE"], env["CALLER_PASSCODE"])
    answer = requests.post(metadata["introspection_endpoint"], data=form, auth=who)
    answer.raise_for_status()
    return answer.json()


granted = refresh()
access = granted["access_token"]
narrowed = refresh(["reader"], resource=env["AUDIENCE"])["access_token"]
key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(narrowed).key
claims = jwt.decode(narrowed, key, algorithms=["EdDSA"], audience=env["AUDIENCE"], issuer=env["ISSUER"], options={"require": ["exp"]})
before = [introspect(env["REFRESH_TOKEN"]), introspect(access)]
url, headers, body = client.prepare_token_revocation_request(metadata["revocation_endpoint"].replace("http:", "https:"), env["REFRESH_TOKEN"], "refresh_token", **shown)
requests.post(url.replace("https:", "http:"), headers=headers, data=body, auth=auth).raise_for_status()
after = [introspect(env["REFRESH_TOKEN"]), introspect(access), introspect("garbage")]
try:
    refresh()
    refused = None
except OAuth2Error as err:
    refused = err.error
print(json.dumps({"granted": " ".join(granted["scope"]), "narrowed": claims["scope"], "claims": claims, "before": before, "after": after, "refused": refused}))
