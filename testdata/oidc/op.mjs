// An OpenID provider on a free port of the loopback. It says "READY ISSUER",
// then obeys lines on stdin, and ends with it.
import { Provider } from 'oidc-provider';
import { exportJWK, generateKeyPair } from 'jose';
import http from 'node:http';
import readline from 'node:readline';

const API = process.env.AUDIENCE;
const ttl = Number(process.env.TTL);
let algorithm = 'RS256';
let serial = 0;
let counts = {};

const key = async (alg) => ({
  ...(await exportJWK((await generateKeyPair(alg, { extractable: true })).privateKey)),
  kid: `${alg}-${++serial}`, alg, use: 'sig',
});

const configuration = async () => ({
  clients: [
    { client_id: 'svc', client_secret: 'svc-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
    {
      client_id: 'cli', token_endpoint_auth_method: 'none', application_type: 'native',
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      redirect_uris: ['http://127.0.0.1/callback'], response_types: ['code'],
    },
  ],
  jwks: { keys: await Promise.all(['RS256', 'PS256', 'ES256', 'EdDSA'].map(key)) },
  claims: { openid: ['sub'] },
  scopes: ['openid', 'groups'],
  clientBasedCORS: () => false,
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        scope: 'groups', audience: resource, accessTokenTTL: ttl,
        accessTokenFormat: resource === API ? 'jwt' : 'opaque',
        jwt: { sign: { alg: algorithm } },
      }),
    },
  },
  extraTokenClaims: () => ({ groups: ['ops'] }),
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  pkce: { required: () => true },
  ttl: { DeviceCode: 600, AccessToken: ttl, IdToken: 600, Session: 600, Interaction: 600, Grant: 600, ClientCredentials: ttl },
  cookies: { keys: ['for tests only'] },
});

const server = http.createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

let answer;
const start = async () => { answer = new Provider(issuer, await configuration()).callback(); };
await start();
server.on('request', (request, response) => {
  const path = request.url.split('?')[0];
  counts[path] = (counts[path] ?? 0) + 1;
  answer(request, response);
});
console.log('READY', issuer);

for await (const line of readline.createInterface({ input: process.stdin })) {
  if (line === 'rotate') {
    await start();
    console.log('ROTATED');
  } else if (line.startsWith('sign ')) {
    algorithm = line.slice(5);
    console.log('SIGNS');
  } else {
    console.log('COUNTS', JSON.stringify(counts));
  }
}
process.exit(0);
