// The demo's OpenID Connect provider: npm's oidc-provider with the people of people.json, who log in by a click.
//
// Because nobody proves who they are, it is for deploy/compose and for nothing else. Everything after the click is as in
// an organisation: discovery, keys, dynamic registration, code with PKCE, resource indicators (RFC 8707), at+jwt.
//
//   ISSUER     the URL by which everybody reaches it, behind an ingress that ends TLS
//   RESOURCES  tokens are for resources that begin with this URL
//   PAGES      where people who sign in to the gateway's pages come back to
//   PORT, HOST where it listens (3000 on every interface)
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { ISSUER, RESOURCES, PAGES, PORT = '3000', HOST = '0.0.0.0' } = process.env;
if (!ISSUER || !RESOURCES || !PAGES) throw new Error('ISSUER, RESOURCES and PAGES must be set');
// From the directory it runs in, which in the tests is not where this file is.
const { default: Provider, errors } = await import(pathToFileURL(createRequire(`${process.cwd()}/`).resolve('oidc-provider')));
const PEOPLE = JSON.parse(readFileSync(new URL('people.json', import.meta.url), 'utf8'));
const SCOPE = 'mcp';

const privateKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const groups = (token) => PEOPLE[token.accountId]?.groups ?? [];

const provider = new Provider(ISSUER, {
  // Made at each start: the gateway fetches keys that it does not know.
  jwks: { keys: [{ ...privateKey, alg: 'ES256', kid: randomUUID(), use: 'sig' }] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  scopes: ['openid', 'offline_access', SCOPE],
  claims: { openid: ['sub', 'groups'] },
  conformIdTokenClaims: false,
  responseTypes: ['code'],
  ttl: { AccessToken: 600, Grant: 86_400, IdToken: 600, Interaction: 600, Session: 28_800 },
  findAccount: (ctx, sub) => PEOPLE[sub] && { accountId: sub, claims: () => ({ sub, groups: PEOPLE[sub].groups }) },
  extraTokenClaims: (ctx, token) => ({ groups: groups(token) }),
  // Public clients only, proved by PKCE: the gateway's pages, and clients that register themselves.
  clients: [{ client_id: 'phigate-pages', redirect_uris: [PAGES] }],
  clientDefaults: { token_endpoint_auth_method: 'none', id_token_signed_response_alg: 'ES256' },
  clientAuthMethods: ['none'],
  enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      defaultResource: (ctx, client, oneOf) => oneOf,
      getResourceServerInfo: (ctx, resource) => {
        if (!resource.startsWith(RESOURCES)) throw new errors.InvalidTarget();
        return { scope: SCOPE, audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } };
      },
    },
  },
});
provider.proxy = true; // The ingress says by X-Forwarded-Proto that the client came by https.

const PAGE = (buttons) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>Who are you?</title>
<meta name="viewport" content="width=device-width"><style>body{font:16px/1.5 system-ui;max-width:26rem;margin:15vh auto;
padding:0 1rem}button{display:block;width:100%;margin:.5rem 0;padding:.75rem;font:inherit;text-align:left}</style>
<h1>Who are you?</h1><p>Everybody here is invented, and nobody needs a password.</p><form method="post">${buttons}</form>`;
const page = PAGE(Object.entries(PEOPLE).map(([sub, { name }]) => `<button name="sub" value="${sub}">${name}</button>`).join(''));

async function chosen(request) {
  let body = '';
  for await (const chunk of request) if ((body += chunk).length > 1024) break;
  return new URLSearchParams(body).get('sub');
}

async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    // `login_hint` is the click of a program: of parts/agent.py, and of the tests.
    const sub = request.method === 'POST' ? await chosen(request) : params.login_hint;
    if (!Object.hasOwn(PEOPLE, sub ?? '')) return response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    return provider.interactionFinished(request, response, { login: { accountId: sub } });
  }
  const owner = { accountId: session.accountId, clientId: params.client_id };
  const grant = (grantId && (await provider.Grant.find(grantId))) || new provider.Grant(owner);
  grant.addOIDCScope(`openid offline_access ${SCOPE}`);
  for (const resource of [params.resource ?? []].flat()) grant.addResourceScope(resource, SCOPE);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

const server = createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok\n');
  const handled = request.url.startsWith('/interaction/') ? interact(request, response) : provider.callback()(request, response);
  return Promise.resolve(handled).catch(() => response.writeHead(400).end('This login has ended; begin again.\n'));
});
server.listen(Number(PORT), HOST, () => console.log(JSON.stringify({ issuer: ISSUER, port: server.address().port })));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
