// A refresh token's life through oauth4webapi, with all of its checks on but
// the one that wants TLS. Prints what it saw as one JSON object.
import * as oauth from 'oauth4webapi'

const { ISSUER, CLIENT_ID, AUDIENCE, REFRESH_TOKEN, CALLER_CODE, CALLER_PASSCODE } = process.env
const plain = { [oauth.allowInsecureRequests]: true }
const issuer = new URL(ISSUER)
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plain }))

const client = { client_id: CLIENT_ID }
const refresh = async (options) =>
  oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, oauth.None(), REFRESH_TOKEN, { ...plain, ...options }))
const granted = await refresh()
const narrowed = await refresh({ additionalParameters: { scope: 'reader', resource: AUDIENCE } })

const request = new Request('https://api.example.org/', { headers: { authorization: `Bearer ${narrowed.access_token}` } })
const claims = await oauth.validateJwtAccessToken(as, request, AUDIENCE, plain)

const caller = { client_id: CALLER_CODE }
const introspect = async (token) =>
  oauth.processIntrospectionResponse(as, caller, await oauth.introspectionRequest(as, caller, oauth.ClientSecretBasic(CALLER_PASSCODE), token, plain))
const before = [await introspect(REFRESH_TOKEN), await introspect(granted.access_token)]
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, oauth.None(), REFRESH_TOKEN, plain))
const after = [await introspect(REFRESH_TOKEN), await introspect(granted.access_token), await introspect('garbage')]

let refused
try {
  await refresh()
} catch (err) {
  refused = err.error
}
console.log(JSON.stringify({ granted: granted.scope, narrowed: narrowed.scope, claims, before, after, refused }))
