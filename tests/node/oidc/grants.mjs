// What the provider can do beside logins: token exchange (RFC 8693), as two grants that its package leaves to be added.
//
//   requested_token_type id-jag          an ID token becomes an identity assertion for one client at one authority
//                                        (draft-ietf-oauth-identity-assertion-authz-grant §4.3)
//   otherwise                            a person's access token becomes one for another resource, which says in `act`
//                                        who acts for the person (RFC 8693 §4.1)
//
// The package authenticates the client and reads the parameters; signatures are jose's, which it uses itself.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { randomUUID } from 'node:crypto';

const require = createRequire(`${process.cwd()}/`);
const { SignJWT, createLocalJWKSet, importJWK, jwtVerify } = await import(pathToFileURL(require.resolve('jose')));
const { errors } = await import(pathToFileURL(require.resolve('oidc-provider')));

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const PARAMETERS = ['audience', 'resource', 'scope', 'subject_token', 'subject_token_type', 'requested_token_type'];

// What a client of this provider is called at the MCP server's authority: agreed out of band (§6.1 of the same draft).
const ELSEWHERE = { desktop: 'care-assistant' };

// `gateway` and `gateway-key` exchange and have tokens of their own, `agent-key` has a key and no secret.
export const clients = () => [
  {
    client_id: 'gateway',
    client_secret: 'gateway-secret-of-forty-characters-long-x',
    grant_types: [GRANT, 'client_credentials'],
    redirect_uris: [],
    response_types: [],
  },
  ...(process.env.CLIENT_JWKS
    ? ['agent-key', 'gateway-key'].map((client_id) => ({
        client_id,
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: JSON.parse(process.env.CLIENT_JWKS),
        grant_types: [GRANT, 'client_credentials'],
        redirect_uris: [],
        response_types: [],
      }))
    : []),
];

export function addGrants(provider, jwks, groups, counts) {
  const published = createLocalJWKSet({ keys: jwks.keys.map(({ kty, n, e, kid, alg, crv, x, y }) => ({ kty, n, e, kid, alg, crv, x, y })) });

  const sign = async (claims, typ, lifetime) => {
    const jwk = jwks.keys.find((key) => key.alg === 'RS256');
    return new SignJWT({ ...claims, iss: provider.issuer, jti: randomUUID() })
      .setProtectedHeader({ alg: 'RS256', kid: jwk.kid, typ })
      .setIssuedAt()
      .setExpirationTime(`${lifetime}s`)
      .sign(await importJWK(jwk, 'RS256'));
  };

  const subject = async (token, audience) => {
    try {
      return (await jwtVerify(token, published, { issuer: provider.issuer, audience })).payload;
    } catch (error) {
      throw new errors.InvalidGrant(`the subject token is not good: ${error.code}`);
    }
  };

  const idJag = async ({ client, params }) => {
    // An ID token for this very client, and for nobody else (ext-auth, Enterprise-Managed Authorization §4.1).
    const who = await subject(params.subject_token, client.clientId);
    const claims = { sub: who.sub, aud: params.audience, resource: params.resource, client_id: ELSEWHERE[client.clientId] };
    return {
      access_token: await sign({ ...claims, scope: params.scope, groups }, 'oauth-id-jag+jwt', 300),
      issued_token_type: ID_JAG,
      token_type: 'N_A',
      expires_in: 300,
    };
  };

  const delegated = async ({ client, params }) => {
    const who = await subject(params.subject_token);
    const { sub } = who;
    const act = { sub: client.clientId, ...(who.act ? { act: who.act } : {}) };
    const lifetime = Number(process.env.EXCHANGED_S ?? 300);
    const claims = { sub, groups, aud: params.resource ?? params.audience, client_id: client.clientId, act };
    return {
      access_token: await sign({ ...claims, scope: params.scope }, 'at+jwt', lifetime),
      issued_token_type: ACCESS_TOKEN,
      token_type: 'Bearer',
      expires_in: lifetime,
    };
  };

  const handler = async (ctx) => {
    counts.exchanges += 1;
    const asked = { client: ctx.oidc.client, params: ctx.oidc.params };
    ctx.body = await (asked.params.requested_token_type === ID_JAG ? idJag(asked) : delegated(asked));
  };
  provider.registerGrantType(GRANT, handler, PARAMETERS);
}
