// A real OpenID Connect provider on loopback for the identity tests: every login succeeds, every consent is given. Who logs
// in is `alice`, or whom `login_hint` names; `visitor` is in no group. Clients may register themselves, or be the URL of a
// metadata document; those that CLIENT_DOCUMENTS holds, a JSON object by URL, are found without a network.
//
// Prints {"issuer": …} when it listens. Reads commands from standard input, one a line, and answers each with a line:
//   rotate   new signing keys, and the old ones are no longer published
//   counts   how many exchanges of tokens, registrations of clients and refreshed tokens there were
// Ends when standard input does, so that it cannot outlive the test run. Runs in the directory where the package is
// installed, which is not where this file is.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { addGrants, clients } from './grants.mjs';

const installed = createRequire(`${process.cwd()}/`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(installed));

console.info = () => {}; // The package's notices would stand among the answers.

const GROUPS = ['clinicians', 'cardiology'];
const groups = (account) => (account === 'visitor' ? [] : GROUPS);
const SCOPES = ['mcp', 'mcp:write'];
const documents = JSON.parse(process.env.CLIENT_DOCUMENTS ?? '{}');
const fetchDocument = async (url, options) =>
  url in documents
    ? new Response(JSON.stringify(documents[url]), { headers: { 'content-type': 'application/json' } })
    : fetch(url, options);

const signingKeys = () => ({
  keys: [
    { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), alg: 'RS256' },
    { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), alg: 'ES256' },
  ].map((key) => ({ ...key, kid: randomUUID(), use: 'sig' })),
});

const configuration = () => ({
  jwks: signingKeys(),
  clients: [
    {
      client_id: 'agent',
      client_secret: 'agent-secret',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
    {
      client_id: 'desktop',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:token-exchange'],
      redirect_uris: ['http://127.0.0.1:9/callback'],
      response_types: ['code'],
      application_type: 'native',
    },
    // The gateway itself, as people sign in to its pages: with a secret, and without.
    {
      client_id: 'pages',
      client_secret: 'pages-secret: + %',
      grant_types: ['authorization_code'],
      redirect_uris: ['https://gate.example/login/callback/work'],
      response_types: ['code'],
    },
    {
      client_id: 'public-pages',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code'],
      redirect_uris: ['http://127.0.0.1/login/callback/work', 'http://localhost/login/callback/work'],
      response_types: ['code'],
      application_type: 'native',
    },
    ...clients(),
  ],
  scopes: ['openid', 'offline_access', ...SCOPES],
  claims: { openid: ['sub', 'groups'] },
  fetch: fetchDocument,
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  conformIdTokenClaims: false,
  cookies: { keys: ['synthetic'] },
  ttl: { AccessToken: 600, ClientCredentials: 600 },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub, groups: groups(sub) }) }),
  // RFC 9068 asks a token of an agent on its own behalf to name that agent as its subject; the provider leaves it out.
  extraTokenClaims: (ctx, token) => ({
    groups: groups(token.accountId),
    realm_access: { roles: ['nurse'] },
    ...(token.kind === 'ClientCredentials' ? { sub: token.clientId } : {}),
  }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    registration: { enabled: true },
    clientIdMetadataDocument: { enabled: true, ack: 'draft-02' },
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx, client, oneOf) => oneOf,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: SCOPES.join(' '),
        audience: resource,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: resource.endsWith('/es256') ? 'ES256' : 'RS256' } },
      }),
    },
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
});

async function interact(provider, request, response) {
  const { params, session, grantId } = await provider.interactionDetails(request, response);
  const accountId = session?.accountId ?? params.login_hint ?? 'alice';
  const scopes = SCOPES.filter((each) => each === 'mcp' || (params.scope ?? '').split(' ').includes(each));
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant({ accountId, clientId: params.client_id });
  grant.addOIDCScope(['openid', 'offline_access', ...scopes].join(' '));
  if (params.resource) grant.addResourceScope(params.resource, scopes.join(' '));
  const consent = { grantId: await grant.save() };
  await provider.interactionFinished(request, response, { login: { accountId }, consent });
}

const counts = { exchanges: 0, registrations: 0, refreshes: 0 };

function make(issuer) {
  const settings = configuration();
  const { jwks } = settings;
  const provider = new Provider(issuer, settings);
  addGrants(provider, jwks, GROUPS, counts);
  provider.on('registration_create.success', () => { counts.registrations += 1; });
  provider.on('grant.success', (ctx) => { counts.refreshes += ctx.oidc.params.grant_type === 'refresh_token' ? 1 : 0; });
  return provider;
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let provider = make(issuer);
  server.on('request', (request, response) => {
    const handled = request.url.startsWith('/interaction/')
      ? interact(provider, request, response)
      : provider.callback()(request, response);
    Promise.resolve(handled).catch((error) => response.writeHead(500).end(String(error)));
  });
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      if (line === 'rotate') provider = make(issuer);
      console.log(JSON.stringify(line === 'counts' ? counts : { done: line }));
    })
    .on('close', () => process.exit(0));
  console.log(JSON.stringify({ issuer }));
});
