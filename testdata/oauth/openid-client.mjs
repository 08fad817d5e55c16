// A refresh token's life through openid-client, with all of its checks on but
// the one that wants TLS. Prints what it saw as one JSON object.
import * as client from 'openid-client'

const { ISSUER, CLIENT_ID, CLIENT_SECRET, AUTH_METHOD, AUDIENCE, REFRESH_TOKEN, CALLER_CODE, CALLER_PASSCODE } = process.env
const options = { algorithm: 'oauth2', execute: [client.allowInsecureRequests] }
const auth = {
  none: () => client.None(),
  client_secret_basic: () => client.ClientSecretBasic(CLIENT_SECRET),
  client_secret_post: () => client.ClientSecretPost(CLIENT_SECRET),
}[AUTH_METHOD]()
const config = await client.discovery(new URL(ISSUER), CLIENT_ID, undefined, auth, options)
// A public client cannot introspect: somebody else does.
const caller =
  AUTH_METHOD === 'none'
    ? await client.discovery(new URL(ISSUER), CALLER_CODE, undefined, client.ClientSecretBasic(CALLER_PASSCODE), options)
    : config

const granted = await client.refreshTokenGrant(config, REFRESH_TOKEN)
const narrowed = await client.refreshTokenGrant(config, REFRESH_TOKEN, { scope: 'reader', resource: AUDIENCE })
const claims = JSON.parse(atob(narrowed.access_token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')))
const introspect = (token) => client.tokenIntrospection(caller, token)
const before = [await introspect(REFRESH_TOKEN), await introspect(granted.access_token)]
await client.tokenRevocation(config, REFRESH_TOKEN)
const after = [await introspect(REFRESH_TOKEN), await introspect(granted.access_token), await introspect('garbage')]

let refused
try {
  await client.refreshTokenGrant(config, REFRESH_TOKEN)
} catch (err) {
  refused = err.error
}
console.log(JSON.stringify({ granted: granted.scope, narrowed: narrowed.scope, claims, before, after, refused }))
