# A refresh token's life through Authlib. Prints what it saw as one JSON object.
import json, os, urllib.request
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, JsonWebToken
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

env = os.environ
with urllib.request.urlopen(get_well_known_url(env["ISSUER"], external=True)) as answer:
    metadata = AuthorizationServerMetadata(json.load(answer))
metadata.validate()
assert metadata["issuer"] == env["ISSUER"]

method = env["AUTH_METHOD"]
client = OAuth2Session(
    env["CLIENT_ID"], env.get("CLIENT_SECRET"), token_endpoint_auth_method=method, revocation_endpoint_auth_method=method,
)
# A public client cannot introspect: somebody else does.
caller = client if method != "none" else OAuth2Session(env["CALLER_CODE"], env["CALLER_PASSCODE"], token_endpoint_auth_method="client_secret_basic")


def refresh(**options):
    client.token = {}
    return client.refresh_token(metadata["token_endpoint"], refresh_token=env["REFRESH_TOKEN"], **options)


def introspect(token):
    caller.token = {}
    answer = caller.introspect_token(metadata["introspection_endpoint"], token=token)
    answer.raise_for_status()
    return answer.json()


granted = refresh()
access = granted["access_token"]
narrowed = refresh(scope="reader", resource=env["AUDIENCE"])
with urllib.request.urlopen(metadata["jwks_uri"]) as answer:
    keys = JsonWebKey.import_key_set(json.load(answer))
claims = JsonWebToken(["EdDSA"]).decode(
    narrowed["access_token"], keys,
    claims_options={"iss": {"essential": True, "value": env["ISSUER"]}, "aud": {"essential": True, "value": env["AUDIENCE"]}, "exp": {"essential": True}},
)
claims.validate()
before = [introspect(env["REFRESH_TOKEN"]), introspect(access)]
client.token = {}
client.revoke_token(metadata["revocation_endpoint"], token=env["REFRESH_TOKEN"]).raise_for_status()
after = [introspect(env["REFRESH_TOKEN"]), introspect(access), introspect("garbage")]
try:
    refresh()
    refused = None
except OAuthError as err:
    refused = err.error
print(json.dumps({"granted": granted["scope"], "narrowed": narrowed["scope"], "claims": dict(claims), "before": before, "after": after, "refused": refused}))
