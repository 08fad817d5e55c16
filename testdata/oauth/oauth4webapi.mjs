// A refresh token's life through oauth4webapi, with all of its checks on but
// the one that wants TLS. Prints what it saw as one JSON object.
import * as oauth from 'oauth4webapi'

const { ISSUER, CLIENT_ID, CLIENT_SECRET, AUTH_METHOD, AUDIENCE, REFRESH_TOKEN, CALLER_CODE, CALLER_PASSCODE } = process.env
const plain = { [oauth.allowInsecureRequests]: true }
const issuer = new URL(ISSUER)
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plain }))

const client = { client_id: CLIENT_ID }
const auth = {
  none: () => oauth.None(),
  client_secret_basic: () => oauth.ClientSecretBasic(CLIENT_SECRET),
  client_secret_post: () => oauth.ClientSecretPost(CLIENT_SECRET),
}[AUTH_METHOD]()
for (const endpoint of ['token', 'revocation']) {
  if (!as[`${endpoint}_endpoint_auth_methods_supported`].includes(AUTH_METHOD)) throw new Error(endpoint)
}
const refresh = async (options) =>
  oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, auth, REFRESH_TOKEN, { ...plain, ...options }))
const granted = await refresh()
const narrowed = await refresh({ additionalParameters: { scope: 'reader', resource: AUDIENCE } })

const request = new Request('https://api.example.org/', { headers: { authorization: `Bearer ${narrowed.access_token}` } })
const claims = await oauth.validateJwtAccessToken(as, request, AUDIENCE, plain)

// A public client cannot introspect: somebody else does.
const [caller, callerAuth] = AUTH_METHOD === 'none' ? [{ client_id: CALLER_CODE }, oauth.ClientSecretBasic(CALLER_PASSCODE)] : [client, auth]
const introspect = async (token) =>
  oauth.processIntrospectionResponse(as, caller, await oauth.introspectionRequest(as, caller, callerAuth, token, plain))
const before = [await introspect(REFRESH_TOKEN), await introspect(granted.access_token)]
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, REFRESH_TOKEN, plain))
const after = [await introspect(REFRESH_TOKEN), await introspect(granted.access_token), await introspect('garbage')]

let refused
try {
  await refresh()
} catch (err) {
  refused = err.error
}
console.log(JSON.stringify({ granted: granted.scope, narrowed: narrowed.scope, claims, before, after, refused }))
